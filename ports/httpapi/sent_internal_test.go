package httpapi

import (
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"hooktrail/application"
)

// TestSentCostsNothing: calls of triggers that need no more than the body pay nothing for those
// that do.
func TestSentCostsNothing(t *testing.T) {
	app := fiber.New()
	c := app.AcquireCtx(&fasthttp.RequestCtx{})
	defer app.ReleaseCtx(c)
	var kept application.Sent
	require.Zero(t, testing.AllocsPerRun(100, func() { kept = sent{c} }))
	require.NotNil(t, kept)
}

func TestSentURL(t *testing.T) {
	app := fiber.New()
	c := app.AcquireCtx(&fasthttp.RequestCtx{})
	defer app.ReleaseCtx(c)
	request := c.Request()
	request.SetRequestURI("/hooks/wht_x?a=%20b&a=c")
	request.Header.SetHost("inside:8080")
	for _, step := range []struct{ proto, host, direct, forwarded string }{
		{"", "", "http://inside:8080", "http://inside:8080"},
		{"https", "", "http://inside:8080", "https://inside:8080"},
		{"https, http", "Hooks.Example.com, b", "http://inside:8080", "https://hooks.example.com"},
		{"javascript", "a", "http://inside:8080", "http://a"},
	} {
		request.Header.Set(fiber.HeaderXForwardedProto, step.proto)
		request.Header.Set(fiber.HeaderXForwardedHost, step.host)
		require.Equal(t, step.direct+"/hooks/wht_x?a=%20b&a=c", sent{c}.URL(false))
		require.Equal(t, step.forwarded+"/hooks/wht_x?a=%20b&a=c", sent{c}.URL(true))
	}
	require.Equal(t, " b", sent{c}.Query("a"))
	require.Empty(t, sent{c}.Query("b"))
}
