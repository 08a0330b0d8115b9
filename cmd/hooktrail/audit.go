package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"hooktrail/adapters/auditlog"
	"hooktrail/adapters/database"
	"hooktrail/cmd/hooktrail/client"
	"hooktrail/domain/trail"
)

type auditCommand struct {
	Verify        auditVerifyCommand     `cmd:"" help:"Hold the whole log against its hashes and signed checkpoints."`
	Receipt       client.AuditReceipt    `cmd:"" help:"Get the proof that an event is in the log, from the server."`
	VerifyReceipt verifyReceiptCommand   `cmd:"" help:"Check the receipt of an event."`
	Checkpoint    auditCheckpointCommand `cmd:"" help:"Print the latest signed checkpoint."`
	Key           auditKeyCommand        `cmd:"" help:"Print the key that checkpoints are verified with."`
}

// Help is shown with --help.
func (*auditCommand) Help() string {
	return "These commands work on the database, but for receipt; the service may run meanwhile.\n\n" +
		example("hooktrail audit key | tee audit.key", "hooktrail audit checkpoint | tee -a checkpoints.txt", "hooktrail audit verify --checkpoint checkpoints.txt")
}

// auditStorage is a database whose log is looked at: what is verified is not secret.
type auditStorage struct{ unsealed }

// open opens a database that is there already.
func (s *auditStorage) open(ctx context.Context) (*database.DB, error) {
	if s.Embedded() && !s.StoreExists() {
		return nil, fmt.Errorf("there is no store in %s; name its directory with --data-dir", s.DataDir)
	}
	db, err := s.OpenDatabase(ctx)
	if err != nil {
		return nil, err
	}
	steps, err := db.Migrations(ctx)
	if err == nil {
		for _, step := range steps {
			if !step.Applied {
				err = fmt.Errorf("the schema is %d steps behind; run: hooktrail migrate", int64(len(steps))-step.Version+1)
				break
			}
		}
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

type auditVerifyCommand struct {
	auditStorage
	Checkpoint []string `help:"File with signed checkpoints that were kept elsewhere; may be given again." placeholder:"FILE" sep:"none"`
	Payloads   bool     `help:"Hold payloads that were not erased against the SHA-256 in their events." default:"true" negatable:""`
	Key        []string `help:"Key that signed them, or a file with it; may be given again. Default: the one in the database." placeholder:"KEY" sep:"none"`
}

// Help is shown with --help.
func (*auditVerifyCommand) Help() string {
	return `Reads every event and names the first that was changed, removed, put in or moved.
Whoever can write to the database can change its hashes too, and with the master key
its checkpoints: only a checkpoint and a key that were kept elsewhere show that.

Ends with exit code 1 when something is wrong.

` + example("hooktrail audit verify --checkpoint checkpoints.txt --key audit.key")
}

// Run verifies.
func (c *auditVerifyCommand) Run(console client.Console) error {
	v := auditlog.Verification{Payloads: c.Payloads}
	for _, text := range c.Key {
		keys, err := readKeys(text)
		if err != nil {
			return err
		}
		v.Keys = append(v.Keys, keys...)
	}
	for _, name := range c.Checkpoint {
		content, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("read the checkpoints: %w", err)
		}
		notes := trail.SplitNotes(content)
		if len(notes) == 0 {
			return fmt.Errorf("%s has no signed checkpoint in it", name)
		}
		for _, note := range notes {
			v.Given = append(v.Given, auditlog.Given{From: name, Note: note})
		}
	}
	return onDatabase(c.open, func(ctx context.Context, db *database.DB) error { return verify(ctx, db, v, console) })
}

func verify(ctx context.Context, db *database.DB, v auditlog.Verification, console client.Console) error {
	started := time.Now()
	progress := client.NewProgress(console.Err)
	v.Progress = func(done, total uint64) { progress.Show(int64(done), int64(total), "events") }
	report, err := auditlog.Verify(ctx, db, v)
	progress.Done()
	if err != nil {
		return err
	}
	took := time.Since(started)
	for _, finding := range report.Findings {
		fmt.Fprintln(console.Out, finding)
	}
	fmt.Fprintf(console.Out, "read %d events in %s (%.0f events/s); hashes are stored of %d\n", report.Events, took.Round(time.Millisecond), float64(report.Events)/took.Seconds(), report.Hashed)
	fmt.Fprintf(console.Out, "%d checkpoints agree, %d of them from files; the last is of position %d\n", report.Checkpoints, report.Given, report.Covered)
	if len(report.Findings) > 0 {
		fmt.Fprintln(console.Out, "the log is NOT as it was signed")
		return exitCode(1)
	}
	if behind := report.Events - report.Covered; behind > 0 {
		fmt.Fprintf(console.Out, "%d events behind it are not signed yet\n", behind)
	}
	if len(v.Given) == 0 || len(v.Keys) == 0 {
		fmt.Fprintln(console.Out, "the checkpoints or the key came from this database alone; keep some elsewhere")
	}
	fmt.Fprintln(console.Out, "the log is as it was signed")
	return nil
}

// readKeys reads a verifier key, or a file with one a line.
func readKeys(text string) ([]*trail.Verifier, error) {
	if content, err := os.ReadFile(text); err == nil {
		text = string(content)
	}
	var keys []*trail.Verifier
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		key, err := trail.NewVerifier(line)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("there is no verifier key in %q", text)
	}
	return keys, nil
}

type verifyReceiptCommand struct {
	File string `arg:"" help:"The receipt, as the API gave it; - is stdin."`
	Key  string `help:"Key that checkpoints are verified with, or a file with it." placeholder:"KEY" required:""`
}

// Help is shown with --help.
func (*verifyReceiptCommand) Help() string {
	return "Needs neither a database nor a server. Shows the event that the receipt proves.\n\n" +
		example("hooktrail audit verify-receipt receipt.json --key audit.key")
}

// Run verifies.
func (c *verifyReceiptCommand) Run(console client.Console) error {
	keys, err := readKeys(c.Key)
	if err != nil {
		return err
	}
	var content []byte
	if c.File == "-" {
		content, err = io.ReadAll(console.In)
	} else {
		content, err = os.ReadFile(c.File)
	}
	if err != nil {
		return fmt.Errorf("read the receipt: %w", err)
	}
	var answer struct {
		Data *trail.Receipt `json:"data"`
		trail.Receipt
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		return fmt.Errorf("%s is no receipt: %w", c.File, err)
	}
	receipt := &answer.Receipt
	if answer.Data != nil {
		receipt = answer.Data
	}
	var failed error
	for _, key := range keys {
		leaf, checkpoint, err := receipt.Verify(key)
		if err != nil {
			failed = err
			continue
		}
		fmt.Fprintf(console.Out, "event %s is at position %d of %s, in the checkpoint of %d events\n", leaf.EventID, leaf.Position, key.Origin(), checkpoint.Size)
		fmt.Fprintf(console.Out, "%s of %s, version %d, by %s at %s\n%s\n", leaf.Type, leaf.Stream, leaf.Version, leaf.Actor, database.Time(leaf.RecordedAt).Format(time.RFC3339Nano), leaf.Data)
		return nil
	}
	fmt.Fprintln(console.Out, "the receipt does not hold:", failed)
	return exitCode(1)
}

type auditCheckpointCommand struct{ auditStorage }

// Help is shown with --help.
func (*auditCheckpointCommand) Help() string {
	return "Keep it where whoever can change the database cannot.\n\n" + example("hooktrail audit checkpoint | tee -a checkpoints.txt")
}

// Run prints the checkpoint.
func (c *auditCheckpointCommand) Run(out io.Writer) error {
	return onDatabase(c.open, func(ctx context.Context, db *database.DB) error {
		latest, found, err := auditlog.Latest(ctx, db)
		if err != nil {
			return err
		}
		if !found {
			return auditlog.ErrNoKey
		}
		fmt.Fprintln(out, latest.Note) // and an empty line between it and the next one
		return nil
	})
}

type auditKeyCommand struct{ auditStorage }

// Help is shown with --help.
func (*auditKeyCommand) Help() string {
	return "It is no secret, and stays the same. Keep it with the checkpoints.\n\n" + example("hooktrail audit key | tee audit.key")
}

// Run prints the key.
func (c *auditKeyCommand) Run(out io.Writer) error {
	return onDatabase(c.open, func(ctx context.Context, db *database.DB) error {
		key, err := auditlog.Verifier(ctx, db)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, key)
		return nil
	})
}
