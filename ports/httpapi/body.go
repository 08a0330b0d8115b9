package httpapi

import (
	"bytes"
	"io"

	"github.com/gofiber/fiber/v2"

	"hooktrail/domain/fault"
)

// eagerBytes is how much memory is taken on a client's word for the length of its body.
const eagerBytes = 64 << 10

// readBody reads the body as it was sent, of at most limit bytes.
func readBody(c *fiber.Ctx, limit int) ([]byte, error) {
	stream := c.Context().RequestBodyStream()
	if stream == nil {
		return nil, nil
	}
	announced := c.Request().Header.ContentLength() // negative when the body comes in chunks
	tooLarge := fault.New(fault.PayloadTooLarge, "the body is larger than %d bytes", limit)
	if announced > limit {
		return nil, tooLarge
	}
	body := bytes.NewBuffer(make([]byte, 0, min(max(announced, 0), eagerBytes)+bytes.MinRead))
	read, err := body.ReadFrom(io.LimitReader(stream, int64(limit)+1))
	switch {
	case err != nil, brokeOff(c):
		return nil, fault.New(fault.Validation, "the body did not arrive as a whole")
	case read > int64(limit):
		return nil, tooLarge
	}
	return body.Bytes(), nil
}
