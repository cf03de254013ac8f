//! Kubefile: lexer, parser, model, lowering.
