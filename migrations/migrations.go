// Package migrations holds the schema of both databases, with the same numbers in each.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// For gives the migrations of a dialect, "postgres" or "sqlite".
func For(dialect string) (fs.FS, error) { return fs.Sub(files, dialect) }
