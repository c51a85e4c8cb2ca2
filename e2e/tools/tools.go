//go:build tools

// Package tools names the commands that are built as they are, so that go.mod keeps their versions.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
