//! Modes as chmod(1) makes them. That it really does is tested by the command's own tests, against chmod itself.

use super::*;

fn change<const N: usize>(
    classes: [Class; N],
    operator: ModeOperator,
    permissions: Permissions,
) -> ModeChange {
    ModeChange { classes: classes.into(), operator, permissions }
}

fn of<const N: usize>(permissions: [Permission; N]) -> Permissions {
    Permissions::Of(permissions.into())
}

/// A file of this mode, and a directory of it, become these.
fn check(changes: Vec<ModeChange>, before: u32, file: u32, dir: u32) {
    let chmod = Chmod::Changes(changes);
    let after = (mode(&chmod, before, false), mode(&chmod, before, true));
    assert_eq!(after, (file, dir), "{before:04o} {chmod}: {:04o} {:04o}", after.0, after.1);
}

#[test]
fn permissions_are_added_removed_and_set_for_classes() {
    use Class::{Group, Other, User};
    use ModeOperator::{Add, Remove, Set};
    use Permission::{Execute, Read, Search, SetId, Sticky, Write};
    let all = [User, Group, Other];
    check(vec![change([User], Add, of([Execute]))], 0o644, 0o744, 0o744);
    check(vec![change(all, Add, of([Execute]))], 0o644, 0o755, 0o755);
    check(
        vec![change([Group, Other], Remove, of([Write])), change(all, Add, of([Read]))],
        0o622,
        0o644,
        0o644,
    );
    check(vec![change(all, Set, of([Read, Search]))], 0o600, 0o444, 0o555);
    check(vec![change(all, Set, of([Read, Search]))], 0o610, 0o555, 0o555);
    check(vec![change([User], Set, Permissions::Like(Group))], 0o750, 0o550, 0o550);
    check(vec![change([Other], Add, Permissions::Like(User))], 0o750, 0o757, 0o757);
    check(vec![change([Group], Set, of([]))], 0o777, 0o707, 0o707);
    // Each change sees what the one before it made.
    check(vec![change([User], Add, of([Execute])), change([Other], Add, of([Search]))], 0o600, 0o701, 0o701);
    check(vec![change(all, Add, of([SetId, Sticky]))], 0o755, 0o7755, 0o7755);
    check(vec![change([Other], Add, of([SetId])), change([User], Add, of([Sticky]))], 0o755, 0o755, 0o755);
    // A directory keeps its set-id bits unless they are named.
    check(vec![change([Group], Set, of([Read]))], 0o2775, 0o745, 0o2745);
    check(vec![change(all, Set, of([Read]))], 0o7777, 0o444, 0o6444);
    check(vec![change([User], Set, of([Read, SetId]))], 0o6777, 0o6477, 0o6477);
    check(vec![change([Group], Remove, of([SetId]))], 0o6777, 0o4777, 0o4777);
}

#[test]
fn an_octal_mode_is_the_mode() {
    assert_eq!(mode(&Chmod::Bits(0o640), 0o2777, true), 0o640);
}
