package eventlog_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"hooktrail/domain/eventlog"
)

type renamed struct {
	eventlog.Base
	Name string `json:"name"`
}

type seen struct {
	eventlog.Base
	Broken func() `json:"broken"`
}

type undeclared struct{ eventlog.Base }

func rename(from, to string) eventlog.Upcast {
	return func(data []byte) ([]byte, error) {
		if !bytes.Contains(data, []byte(`"`+from+`"`)) {
			return nil, errors.New("it has no " + from)
		}
		return bytes.Replace(data, []byte(`"`+from+`"`), []byte(`"`+to+`"`), 1), nil
	}
}

// In version 1 the field was called title, in version 2 label.
var codec = eventlog.NewCodec(
	eventlog.Type[renamed]("thing.renamed", rename("title", "label"), rename("label", "name")),
	eventlog.FactType[seen]("thing.seen"),
)

func TestDecodeUpcasts(t *testing.T) {
	for schema, data := range map[int]string{1: `{"title":"a"}`, 2: `{"label":"a"}`, 3: `{"name":"a"}`} {
		event, err := codec.Decode(eventlog.Recorded{Type: "thing.renamed", Schema: schema, Data: []byte(data)})
		require.NoError(t, err)
		require.Equal(t, renamed{Name: "a"}, event, "version %d", schema)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for says, recorded := range map[string]eventlog.Recorded{
		`event type "thing.lost" at position 7 is not known`:    {Type: "thing.lost", Schema: 1, Data: []byte(`{}`)},
		`has schema version 4; this version knows 1 to 3`:       {Type: "thing.renamed", Schema: 4, Data: []byte(`{}`)},
		`has schema version 0; this version knows 1 to 3`:       {Type: "thing.renamed", Schema: 0, Data: []byte(`{}`)},
		`upcast thing.renamed at position 7: it has no title`:   {Type: "thing.renamed", Schema: 1, Data: []byte(`{}`)},
		`upcast thing.renamed at position 7: it has no label`:   {Type: "thing.renamed", Schema: 2, Data: []byte(`{}`)},
		`decode thing.renamed at position 7: json: cannot unma`: {Type: "thing.renamed", Schema: 3, Data: []byte(`{"name":1}`)},
	} {
		recorded.Position = 7
		event, err := codec.Decode(recorded)
		require.ErrorContains(t, err, says)
		require.Nil(t, event, "%s: half an event must not be evolved on", says)
	}
}

func TestDecodeTakesTheEventThatIsBeingAppended(t *testing.T) {
	event, err := codec.Decode(eventlog.Recorded{Type: "thing.renamed", Schema: 3, Data: []byte(`{"name":"a"}`), Event: renamed{Name: "a"}})
	require.NoError(t, err)
	require.Equal(t, renamed{Name: "a"}, event)
}

func TestEncode(t *testing.T) {
	proposed, err := codec.Encode(renamed{Name: "a"})
	require.NoError(t, err)
	require.Equal(t, eventlog.Proposed{Type: "thing.renamed", Schema: 3, Data: []byte(`{"name":"a"}`), Event: renamed{Name: "a"}}, proposed)

	_, err = codec.Encode(undeclared{})
	require.ErrorContains(t, err, "event type eventlog_test.undeclared is not declared")
	_, err = codec.Encode(seen{})
	require.ErrorContains(t, err, "encode thing.seen")
	require.Equal(t, map[string]int{"thing.renamed": 3, "thing.seen": 1}, codec.Names())
}

func TestFactsAreMarked(t *testing.T) {
	facts := eventlog.NewCodec(eventlog.FactType[undeclared]("thing.noted"))
	proposed, err := facts.Encode(undeclared{})
	require.NoError(t, err)
	require.True(t, proposed.Fact)
}

func TestNewCodecRefusesWhatIsDeclaredTwice(t *testing.T) {
	require.PanicsWithValue(t, "event name declared twice: thing.renamed", func() {
		eventlog.NewCodec(eventlog.Type[renamed]("thing.renamed"), eventlog.Type[undeclared]("thing.renamed"))
	})
	require.PanicsWithValue(t, "event type declared twice: eventlog_test.renamed", func() {
		eventlog.NewCodec(eventlog.Type[renamed]("thing.renamed"), eventlog.Type[renamed]("thing.called"))
	})
}
