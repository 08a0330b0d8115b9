package httpapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"hooktrail/application"
	"hooktrail/domain/eventlog"
	"hooktrail/domain/fault"
)

type envelope struct {
	Data     any      `json:"data"`
	Meta     *meta    `json:"meta,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

type meta struct {
	Total      int    `json:"total"`
	Page       int    `json:"page"`
	Limit      int    `json:"limit"`
	Pages      int    `json:"pages"`
	TotalPages int    `json:"total_pages"`
	NextCursor string `json:"next_cursor,omitempty"`
	// TotalCapped says that there are at least as many as total.
	TotalCapped bool `json:"total_capped,omitempty"`
}

func writeJSON(c *fiber.Ctx, status int, value any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.Status(status).Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Send(bytes.TrimRight(body.Bytes(), "\n"))
}

func data(c *fiber.Ctx, status int, value any, warnings []string) error {
	return writeJSON(c, status, envelope{Data: value, Warnings: warnings})
}

// versioned answers with one resource and its version as the entity tag.
func versioned(c *fiber.Ctx, status int, value any, version int64, warnings []string) error {
	c.Set(fiber.HeaderETag, strconv.Quote(strconv.FormatInt(version, 10)))
	return data(c, status, value, warnings)
}

// ifMatch reads the version that a request demands; 0 is none.
func ifMatch(c *fiber.Ctx) (int64, error) {
	value := c.Get(fiber.HeaderIfMatch)
	if value == "" || value == "*" {
		return 0, nil
	}
	version, err := strconv.ParseInt(strings.Trim(strings.TrimPrefix(value, "W/"), `"`), 10, 64)
	if err != nil || version < 1 {
		return 0, fault.New(fault.PreconditionFailed, "If-Match names no version of this resource")
	}
	return version, nil
}

func list[V any](c *fiber.Ctx, page application.Page[V], p application.Paging) error {
	items := page.Items
	if items == nil {
		items = []V{}
	}
	pages := (page.Total + p.Limit - 1) / p.Limit
	m := &meta{Total: page.Total, Page: max(p.Page, 1), Limit: p.Limit, Pages: pages, TotalPages: pages, TotalCapped: page.Total >= application.CountBound}
	if page.Next > 0 {
		m.NextCursor = encodeCursor(page.Next)
	}
	return writeJSON(c, fiber.StatusOK, envelope{Data: items, Meta: m})
}

func encodeCursor(position eventlog.Position) string {
	return base64.RawURLEncoding.EncodeToString([]byte("p" + strconv.FormatInt(int64(position), 10)))
}

func decodeCursor(text string) (eventlog.Position, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(raw) > 1 && raw[0] == 'p' {
		if position, err := strconv.ParseInt(string(raw[1:]), 10, 64); err == nil && position > 0 {
			return eventlog.Position(position), nil
		}
	}
	return 0, fault.Field("cursor", "is not one that a list has given")
}

const (
	defaultLimit = 20
	maxLimit     = 100
	maxPage      = 10_000
)

func paging(c *fiber.Ctx) (application.Paging, error) {
	p := application.Paging{Page: 1, Limit: defaultLimit}
	var err error
	if p.Limit, err = number(c, "limit", defaultLimit, 1, maxLimit); err != nil {
		return p, err
	}
	if p.Page, err = number(c, "page", 1, 1, maxPage); err != nil {
		return p, err
	}
	if text := c.Query("cursor"); text != "" {
		p.Cursor, err = decodeCursor(text)
	}
	return p, err
}

func number(c *fiber.Ctx, name string, otherwise, least, most int) (int, error) {
	text := c.Query(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fault.Field(name, "must be a whole number from %d to %d", least, most)
	}
	return n, nil
}

// flag reads a query parameter that is true or false; nil when it is absent.
func flag(c *fiber.Ctx, name string) (*bool, error) {
	text := c.Query(name)
	if text == "" {
		return nil, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return nil, fault.Field(name, "must be true or false")
	}
	return &value, nil
}

// span reads since and until, the zero time for one that is absent.
func span(c *fiber.Ctx) (since, until time.Time, err error) {
	if since, err = moment(c, "since"); err != nil {
		return since, until, err
	}
	until, err = moment(c, "until")
	return since, until, err
}

// end answers a request for the end of something, which If-Match may bind to a version.
func (s *Server) end(c *fiber.Ctx, end func(ctx context.Context, caller application.Caller, id string, ifVersion int64) error) error {
	version, err := ifMatch(c)
	if err != nil {
		return err
	}
	ctx, cancel := s.contextOf()
	defer cancel()
	if err := end(ctx, callerOf(c), c.Params("id"), version); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

func moment(c *fiber.Ctx, name string) (time.Time, error) {
	text := c.Query(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fault.Field(name, "must be a time by RFC 3339, such as 2026-01-31T12:00:00Z")
	}
	return at, nil
}
