package application

import (
	"context"
	"net/netip"
	"time"

	"hooktrail/domain/clientip"
)

// maxRefusalAge is how old the state of a trigger may be on which calls are refused for
// their rate: its limit may have been raised since.
const maxRefusalAge = time.Second

// TakeRate counts a call against the client's limit: the trigger's own where the token
// belongs to a trigger that has one, else the server's. A token that is not known yet is
// looked up only when the server's limit allows the call.
func (app *Application) TakeRate(ctx context.Context, presented *Presented, client netip.Addr) (RateDecision, error) {
	known := app.peek(presented)
	limit, scope := app.rateLimit(known)
	d, err := app.takeRate(ctx, scope, client, limit)
	if err != nil {
		return d, err
	}
	unknown := known == nil && d.Allowed && presented.valid
	outdated := known != nil && !d.Allowed && app.Now().Sub(known.readAt) > maxRefusalAge
	if !unknown && !outdated {
		return d, nil
	}
	bound, _, err := app.loadBound(ctx, app.hashOf(presented))
	if err != nil {
		return d, err
	}
	limitNow, scopeNow := app.rateLimit(bound)
	if limitNow == limit && scopeNow == scope {
		return d, nil
	}
	return app.takeRate(ctx, scopeNow, client, limitNow)
}

// rateLimit gives the limit of calls to a trigger and the scope in which they count: ""
// for the server's, which counts the calls of a client to all triggers.
func (app *Application) rateLimit(bound *boundTrigger) (limit int, scope string) {
	if bound == nil || bound.trigger.Options.RateLimit == nil || !bound.trigger.Proven(bound.tokenID, app.Now()) {
		return app.config.RateLimit, ""
	}
	return *bound.trigger.Options.RateLimit, bound.trigger.ID + " "
}

func (app *Application) takeRate(ctx context.Context, scope string, client netip.Addr, limit int) (RateDecision, error) {
	if limit == 0 {
		return RateDecision{Allowed: true}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	d, err := app.Limiter.Take(ctx, scope+clientip.Key(client), limit)
	return d, refusal(err)
}

// BodyLimit is the most bytes that a call with that token may send; announced is how many it
// says it will, -1 when it does not say. A token that is not known yet is looked up where
// more is announced than the server takes, so that a trigger's larger limit holds from its
// first call.
func (app *Application) BodyLimit(ctx context.Context, presented *Presented, announced int) int {
	bound := app.peek(presented)
	limit := app.bodyLimit(bound)
	if announced < 0 && bound != nil || announced >= 0 && announced <= limit || !presented.valid {
		return limit
	}
	bound, _, err := app.loadBound(ctx, app.hashOf(presented))
	if err != nil {
		return limit
	}
	return app.bodyLimit(bound)
}

func (app *Application) bodyLimit(bound *boundTrigger) int {
	if bound == nil || bound.trigger.Options.MaxBodyBytes == 0 || !bound.trigger.Proven(bound.tokenID, app.Now()) {
		return app.config.MaxBodyBytes
	}
	return bound.trigger.Options.MaxBodyBytes
}
