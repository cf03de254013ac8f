#!/bin/sh
# Installs the network of the cluster.
set -e
kubectl apply -f "$(dirname "$0")/calico.yaml"
