package httpapi

import (
	"bytes"
	"io"

	"github.com/gofiber/fiber/v2"

	"hooktrail/domain/fault"
)

// eagerBytes is how much memory is taken on a client's word for the length of its body.
const eagerBytes = 64 << 10

var brokenOff = fault.New(fault.Validation, "the body did not arrive as a whole")

func tooLarge(limit int) error {
	return fault.New(fault.PayloadTooLarge, "the body is larger than %d bytes", limit)
}

// readBody reads the body as it was sent, of at most limit bytes.
func readBody(c *fiber.Ctx, limit int) ([]byte, error) {
	stream := c.Context().RequestBodyStream()
	if stream == nil {
		return nil, nil
	}
	announced := c.Request().Header.ContentLength() // negative when the body comes in chunks
	if announced > limit {
		return nil, tooLarge(limit)
	}
	if announced >= 0 && announced <= eagerBytes {
		body := make([]byte, announced)
		if _, err := io.ReadFull(stream, body); err != nil {
			return nil, brokenOff
		}
		return body, nil
	}
	body := bytes.NewBuffer(make([]byte, 0, eagerBytes))
	read, err := body.ReadFrom(io.LimitReader(stream, int64(limit)+1))
	switch {
	case err != nil, brokeOff(c):
		return nil, brokenOff
	case read > int64(limit):
		return nil, tooLarge(limit)
	}
	return body.Bytes(), nil
}
