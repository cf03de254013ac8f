#!/bin/sh
# Runs on the first master after the applications before it.
set -e
kubectl create namespace business --dry-run=client -o yaml | kubectl apply -f -
