package eventlogtest

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
)

type painted struct {
	eventlog.Base
	Colour string `json:"colour"`
	Layers []int  `json:"layers,omitempty"`
}

var red = painted{Colour: "red", Layers: []int{1}}

// In version 1 the colour was spelt color.
func codec() *eventlog.Codec {
	return eventlog.NewCodec(eventlog.Type[painted]("wall.painted", func(data []byte) ([]byte, error) {
		return bytes.Replace(data, []byte(`"color"`), []byte(`"colour"`), 1), nil
	}))
}

func files() fstest.MapFS {
	return fstest.MapFS{
		"wall.painted.v1.json": {Data: []byte(`{"color":"red","layers":[1]}` + "\n")},
		"wall.painted.v2.json": {Data: []byte(`{"colour":"red","layers":[1]}` + "\n")},
	}
}

func examples() map[string]eventlog.Event {
	return map[string]eventlog.Event{"wall.painted.v1": red, "wall.painted.v2": red}
}

func TestGoodGoldenFiles(t *testing.T) {
	require.Empty(t, check(codec(), files(), examples()))
}

func TestEveryProblemIsFound(t *testing.T) {
	for problem, breaks := range map[string]func(fstest.MapFS, map[string]eventlog.Event){
		"wall.painted.v1: the test has no example": func(_ fstest.MapFS, e map[string]eventlog.Event) { delete(e, "wall.painted.v1") },
		"wall.painted.v2: no golden file":          func(f fstest.MapFS, _ map[string]eventlog.Event) { delete(f, "wall.painted.v2.json") },
		"wall.painted.v1: no golden file":          func(f fstest.MapFS, _ map[string]eventlog.Event) { delete(f, "wall.painted.v1.json") },
		"wall.painted.v2: the event is stored as": func(f fstest.MapFS, _ map[string]eventlog.Event) {
			f["wall.painted.v2.json"].Data = []byte(`{"colour": "red","layers":[1]}` + "\n")
		},
		"wall.painted.v1: the golden file decodes to": func(f fstest.MapFS, _ map[string]eventlog.Event) {
			f["wall.painted.v1.json"].Data = []byte(`{"tint":"red"}`)
		},
		"wall.painted.v1: the golden file does not decode": func(f fstest.MapFS, _ map[string]eventlog.Event) {
			f["wall.painted.v1.json"].Data = []byte(`{`)
		},
		"wall.painted.v3: an example of no event":         func(_ fstest.MapFS, e map[string]eventlog.Event) { e["wall.painted.v3"] = red },
		"wall.painted.v3.json: a golden file of no event": func(f fstest.MapFS, _ map[string]eventlog.Event) { f["wall.painted.v3.json"] = &fstest.MapFile{} },
		"notes.txt: a golden file of no event":            func(f fstest.MapFS, _ map[string]eventlog.Event) { f["notes.txt"] = &fstest.MapFile{} },
		"wall.painted.v2: the example's field .Layers is empty": func(_ fstest.MapFS, e map[string]eventlog.Event) {
			e["wall.painted.v2"] = painted{Colour: "red"}
		},
	} {
		t.Run(problem, func(t *testing.T) {
			f, e := files(), examples()
			breaks(f, e)
			problems := check(codec(), f, e)
			require.Contains(t, strings.Join(problems, "\n"), problem)
		})
	}
}

func TestWriteNewChangesNoFileThatIsThere(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, writeNew(codec(), examples()))
	written, err := os.ReadFile("testdata/events/wall.painted.v2.json")
	require.NoError(t, err)
	require.Equal(t, `{"colour":"red","layers":[1]}`+"\n", string(written))
	require.NoFileExists(t, "testdata/events/wall.painted.v1.json", "a version of the past is not made up")

	require.NoError(t, writeNew(codec(), map[string]eventlog.Event{"wall.painted.v2": painted{Colour: "blue"}}))
	after, err := os.ReadFile("testdata/events/wall.painted.v2.json")
	require.NoError(t, err)
	require.Equal(t, string(written), string(after))
}
