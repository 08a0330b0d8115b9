package database_test

import (
	"testing"

	"hooktrail/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
