#!/bin/sh
# Where a runtime image prepares a host.
set -e
swapoff -a
