package jsonobject_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"hooktrail/domain/jsonobject"
)

type sample struct {
	Text    string    `json:"text"`
	Absent  string    `json:"absent,omitempty"`
	Number  int       `json:"number"`
	Flag    bool      `json:"flag"`
	Inner   inner     `json:"inner"`
	Perhaps bool      `json:"perhaps,omitempty"`
	At      time.Time `json:"at"`
}

type inner struct {
	Empty struct{} `json:"empty"`
	Text  string   `json:"text"`
}

func TestWritesWhatTheStandardLibraryWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := sample{
			Text: rapid.String().Draw(t, "text"), Absent: rapid.SampledFrom([]string{"", "a", "<&>", "\xff", "\u2028", "\"\\\x00"}).Draw(t, "absent"),
			Number: rapid.Int().Draw(t, "number"), Flag: rapid.Bool().Draw(t, "flag"), Perhaps: rapid.Bool().Draw(t, "perhaps"),
			At: time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC(), Inner: inner{Text: "x"},
		}
		want, err := json.Marshal(s)
		require.NoError(t, err)
		got := jsonobject.New(64).Text("text", s.Text).TextIfAny("absent", s.Absent).Int("number", s.Number).Bool("flag", s.Flag).
			Begin("inner").Begin("empty").End().Text("text", "x").End().BoolIfTrue("perhaps", s.Perhaps).Time("at", s.At).End()
		require.Equal(t, string(want), string(got))
	})
	require.Equal(t, "{}", string(jsonobject.New(0).End()))
}
