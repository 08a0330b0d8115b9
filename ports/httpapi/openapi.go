package httpapi

import (
	_ "embed"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"github.com/swaggest/swgui/v5emb"
)

// OpenAPI is the contract.
//
//go:embed openapi.yaml
var OpenAPI []byte

// AsyncAPI is the contract of the events. It is made from the types in which they are declared.
//
//go:generate go run hooktrail/internal/asyncapi/write
//go:embed asyncapi.json
var AsyncAPI []byte

func asyncAPIDocument(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Send(AsyncAPI)
}

func openAPIDocument(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "application/yaml; charset=utf-8")
	return c.Send(OpenAPI)
}

// docsPage renders the contract with assets that are part of the binary.
var docsPage http.Handler = v5emb.New("Hooktrail", "/openapi.yaml", "/docs")
