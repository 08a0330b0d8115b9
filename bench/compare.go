package main

import "fmt"

// figure is what a cell is compared by: calls a second, or milliseconds when its pace was
// given or it has no other.
func (c cell) figure() (value float64, isTime bool) {
	if c.PerSecond > 0 && !c.Paced {
		return c.PerSecond, false
	}
	return c.P50, true
}

// compare prints this run beside an earlier one. The machine may have been slower or faster
// then, so each figure is first divided by what the bare handler reached in the same minutes
// of its own run (a time is multiplied by it); the last column compares these quotients.
func (r *report) compare(earlier *results) {
	fmt.Printf("\ncompared with the run of %s (better than 1: this run is faster, the speed of the machine taken out)\n", earlier.At.Format("2006-01-02 15:04"))
	fmt.Printf("%-10s %-38s %12s %12s %10s %8s\n", "", "", "then", "now", "now ÷ then", "better")
	for _, now := range r.Cells {
		then, found := findCell(earlier.Cells, now.Store, now.Name)
		if !found {
			continue
		}
		a, isTime := now.figure()
		b, wasTime := then.figure()
		if a == 0 || b == 0 || isTime != wasTime {
			continue
		}
		unit, better := "/s", "-"
		if isTime {
			unit = " ms"
		}
		if now.Bare > 0 && then.Bare > 0 {
			gain := (a / now.Bare) / (b / then.Bare)
			if isTime {
				gain = (b * then.Bare) / (a * now.Bare)
			}
			better = number(gain)
		}
		fmt.Printf("%-10s %-38s %12s %12s %10s %8s\n", now.Store, now.Name, number(b)+unit, number(a)+unit, number(a/b), better)
	}
}
