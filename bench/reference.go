package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"os"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/domain/trigger"
)

const (
	bareName    = "bare fiber handler, HMAC, 64 conn."
	benchSecret = "bench-secret-of-32-bytes-exactly"
)

// serveBare is a handler that verifies the HMAC and answers, and does nothing else.
func serveBare(addr string) error {
	app := fiber.New(fiber.Config{DisableStartupMessage: true, Immutable: true})
	app.Get("/", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusOK) })
	app.Post("/api/v1/webhook/trigger", func(c *fiber.Ctx) error {
		if !hmac.Equal([]byte(trigger.Sign([]byte(benchSecret), bytes.Clone(c.Request().Body()))), []byte(c.Get("X-Webhook-Signature"))) {
			return c.SendStatus(fiber.StatusUnauthorized)
		}
		c.Status(fiber.StatusAccepted).Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
		return c.SendString(`{"data":{"id":"3MWpTLSykDzjmfiOJ5Les47XdGw","status":"pending"}}`)
	})
	return app.Listen(addr)
}

// launchBare starts this program again as the bare handler, a process of its own as the
// server under test is one.
func launchBare(ctx context.Context) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return launch(ctx, addr, "/", nil, self, "-bare", addr)
}

func (h *host) bareSubject() *subject {
	call := request(h.bare.addr, "wht_none", signature(), benchBody())
	return &subject{name: bareName, server: h.bare.pid(), run: func(ctx context.Context, duration time.Duration) (outcome, error) {
		l := load{addr: h.bare.addr, connections: 64, duration: duration, status: fiber.StatusAccepted, requests: [][]byte{call}}
		return l.run(ctx)
	}}
}

// benchBody is a JSON object of 1 KiB.
func benchBody() []byte {
	body := []byte(`{"action":"opened","number":42,"repository":{"full_name":"acme/widgets","private":true},"labels":["bug","p1"],"text":"`)
	return append(append(body, strings.Repeat("x", 1024-len(body)-2)...), `"}`...)
}

func signature() string { return trigger.Sign([]byte(benchSecret), benchBody()) }
