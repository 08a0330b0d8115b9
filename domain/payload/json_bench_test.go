package payload_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"hooktrail/domain/payload"
)

// pullRequest is shaped like a code host's webhook: short keys, ids, URLs, nested objects.
func pullRequest(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"action":"opened","number":42,"labels":["bug","needs review"],"commits":[`)
	for i := 0; b.Len() < size-150; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"node_id":"MDExOlB1bGxSZXF1ZXN0%d","url":"https://api.example.com/repos/a/b/pulls/%d","draft":false,"score":12.5,"user":{"login":"caf\u00e9","id":%d}}`, 279147437+i, i, i, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

func BenchmarkCheckJSON(b *testing.B) {
	for name, body := range map[string][]byte{
		"1KiB":            pullRequest(1 << 10),
		"64KiB":           pullRequest(64 << 10),
		"1MiB":            pullRequest(1 << 20),
		"1MiB of numbers": []byte("[" + strings.Repeat("1.5e3,", 1<<20/6) + "0]"),
		"1MiB of keys":    manyKeys(90_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := payload.CheckJSON(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func manyKeys(n int) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":1`, i)
	}
	b.WriteByte('}')
	return b.Bytes()
}
