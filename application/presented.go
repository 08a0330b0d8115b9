package application

import "hooktrail/domain/token"

// Presented is what a call presents as its token. Its keyed hash is computed once, for all
// the checks of the call.
type Presented struct {
	text  string
	valid bool   // whether it could be a trigger's token
	hash  string // "" before it is asked for
}

// Present takes the text that a call presents as its token.
func Present(text string) *Presented {
	return &Presented{text: text, valid: token.Valid(token.TriggerPrefix, text)}
}

// Possible reports whether the text could be a trigger's token, as far as can be told from it
// alone.
func (p *Presented) Possible() bool { return p.valid }

// hashOf gives the keyed hash of a text that may be a token.
func (app *Application) hashOf(p *Presented) string {
	if p.hash == "" {
		p.hash = string(app.Secrets.HashToken(p.text))
	}
	return p.hash
}

// peek gives what memory knows of the trigger that a token belongs to; nil when nothing.
func (app *Application) peek(p *Presented) *boundTrigger {
	if !p.valid {
		return nil
	}
	bound, _ := app.triggers.Peek(app.hashOf(p))
	return bound
}
