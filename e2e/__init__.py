"""Tests on a real Kubernetes, and the cluster they run on (`e2e/cluster`)."""
