package expression_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/expression"
	"hooktrail/domain/fault"
)

// TestHostileSourcesAreCompiledInBoundedTime holds the compilers, which run in the server's own
// process: an exponential one would not come to an end.
func TestHostileSourcesAreCompiledInBoundedTime(t *testing.T) {
	nest := func(open, inner, closing string, n int) string {
		return strings.Repeat(open, n) + inner + strings.Repeat(closing, n)
	}
	for name, s := range map[string]expression.Source{
		"jq parens": jq(nest("(", ".", ")", 32000)), "jq arrays": jq(nest("[", ".", "]", 32000)), "jq if": jq(nest("if . then ", ".", " end", 3000)),
		"jq defs": jq(nest("def f: ", "1", "; f", 5000)), "jq pipes": jq(strings.Repeat(".|", 30000) + "."), "jq reduce": jq(nest("reduce .[] as $x (0; ", ".", ")", 2500)),
		"jq path": jq("path(" + nest("(", ".", "|.a)", 9000) + ")"), "jq alt": jq(strings.Repeat(". as [$a] ?// ", 4000) + "$a | 1"), "jq strings": jq(nest(`"\(`, ".", `)"`, 9000)),
		"jq destruct": jq(". as " + nest("[", "$a", "]", 8000) + " | $a"),
		"cel parens":  filter(nest("(", "true", ")", 8000)), "cel lists": filter(nest("[", "1", "]", 120) + " == 1"), "cel and": filter(strings.Repeat("true && ", 2000) + "true"),
		"cel ternary": filter(nest("true ? ", "true", " : false", 120)), "cel macros": filter(nest("[1].all(x, ", "true", ")", 100)), "cel maps": filter(nest("{'a': ", "1", "}", 120) + " == 1"),
		"cel optmap": filter(nest("optional.of(1).optFlatMap(x, ", "optional.of(true)", ")", 100) + ".value()"),
		"cel plus":   filter(strings.Repeat("payload.a + ", 1300) + "1 == 1"), "cel regex": filter("payload.a.matches('" + strings.Repeat("(a{1000})", 3) + "')"),
		"template": template(strings.Repeat("{{ .payload.a }}", 4000)), "template nest": template(nest("{{ (", ".payload", ") }}", 1)),
	} {
		began := time.Now()
		if _, err := expression.Compile(s); err != nil {
			require.Equal(t, fault.Validation, fault.CodeOf(err), name)
			require.NotContains(t, err.Error(), "column 0", name)
		}
		require.Less(t, time.Since(began), 20*time.Second, name)
	}
}
