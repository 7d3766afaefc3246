package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"example.com/keystore"
	"example.com/keystore/internal/keyview"
	"example.com/keystore/memory"
)

const maxPlansFile = 1 << 20 // bytes

const givePlans = "--plans or KEYSTORE_PLANS names the file of the plans that your program has"

// plans are those of the file that --plans names, nil without one. It is read once:
// it may be a pipe.
func (a *app) plans() (map[string][]keystore.Limit, error) {
	if a.readPlans == nil {
		a.readPlans = sync.OnceValues(a.plansOfFile)
	}
	return a.readPlans()
}

func (a *app) plansOfFile() (map[string][]keystore.Limit, error) {
	s, err := a.setting("plans", a.global.plans, "KEYSTORE_PLANS")
	if err != nil || s.text == "" {
		return nil, err
	}
	plans, err := plansFromFile(s.text)
	var unreadable *failure
	if errors.As(err, &unreadable) {
		return nil, named(s.from, err)
	}
	return plans, s.wrong(err)
}

// checkPlan refuses a plan that is not in the file of plans.
func (a *app) checkPlan(name string) error {
	plans, err := a.plans()
	if _, known := plans[name]; err == nil && !known {
		return usagef("--plan: there is no such plan; %s", givePlans)
	}
	return err
}

// completePlan gives the plans of the file.
func (a *app) completePlan(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	plans, _ := a.plans() // nobody hears of errors
	return slices.Sorted(maps.Keys(plans)), cobra.ShellCompDirectiveNoFileComp
}

// planView is a plan as --json prints it.
type planView struct {
	Name   string          `json:"name"`
	Limits []keyview.Limit `json:"limits"`
}

func (a *app) listPlans() *cobra.Command {
	return a.command("plans", "Show the plans of the file that --plans names", `Shows the plans of the file that --plans names, with their limits, and so tells
whether the file is as it should be. The store is not asked.`,
		`  keystore plans --plans plans.json`, noArguments, func(cmd *cobra.Command, _ []string) error {
			plans, err := a.plans()
			if err != nil {
				return err
			}
			if plans == nil {
				return usagef("no plans are named: %s", givePlans)
			}
			// What the file says must be what a keystore takes.
			ks, err := keystore.New(memory.New(), &keystore.Options{Plans: plans, TouchInterval: keystore.Never, PurgeInterval: keystore.Never, UsageInterval: keystore.Never})
			if err != nil {
				return err
			}
			defer closing(a.logger(), "the plans", ks.Close)
			return a.printPlans(ks.Plans())
		})
}

// printPlans shows plans by name: with --json one a line, else as a table.
func (a *app) printPlans(plans map[string][]keystore.Limit) error {
	rows := [][]string{{"PLAN", "LIMITS"}}
	var lines []byte
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		limits := keyview.Limits(slices.Values(plans[name]))
		lines = append(lines, jsonLine(planView{name, limits})...)
		rows = append(rows, []string{name, shown(limitsText(plans[name]))})
	}
	if a.global.json {
		return a.write(lines)
	}
	return a.printTable(rows)
}

// plansFromFile reads Options.Plans from a file in JSON: an object of arrays of
// limits in the form of keystore.ParseLimit, by the name of the plan. Its errors
// repeat nothing of the file but the names of plans, for it may be a wrong one.
func plansFromFile(path string) (map[string][]keystore.Limit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError("the file", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPlansFile+1))
	if err != nil {
		return nil, fileError("the file", err)
	}
	if len(text) > maxPlansFile {
		return nil, problem("the file is longer than 1 MiB")
	}
	return parsePlans(text)
}

const notPlans = problem(`the file is not an object like {"free": ["day 100/24h"], "pro": ["day 10000/24h", "burst 10/1s"]}`)

// parsePlans reads token by token: encoding/json would take the last of two plans
// with one name in silence.
func parsePlans(text []byte) (map[string][]keystore.Limit, error) {
	if err := checkJSON(text); err != nil {
		return nil, err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	if token, err := in.Token(); err != nil || token != json.Delim('{') {
		return nil, notPlans
	}
	plans := make(map[string][]keystore.Limit)
	for in.More() {
		name, limits, err := parsePlan(in)
		if err != nil {
			return nil, err
		}
		if _, twice := plans[name]; twice {
			return nil, fmt.Errorf("plan %s is there twice", name)
		}
		plans[name] = limits
	}
	return plans, nil
}

// checkJSON returns an error unless text is one value in JSON.
func checkJSON(text []byte) error {
	var value json.RawMessage
	err := json.Unmarshal(text, &value)
	var wrong *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("the file is not JSON, see its line %d", 1+bytes.Count(text[:max(wrong.Offset-1, 0)], []byte("\n")))
	case err != nil:
		return problem("the file is not JSON")
	}
	return nil
}

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)

func parsePlan(in *json.Decoder) (name string, limits []keystore.Limit, err error) {
	token, _ := in.Token()
	name, isText := token.(string)
	if !isText {
		return "", nil, notPlans
	}
	if !planName.MatchString(name) {
		return "", nil, problem("the name of a plan is [a-z0-9][a-z0-9_-]*, 1 to 32 characters")
	}
	var texts []*string // null is no text
	if err := in.Decode(&texts); err != nil || texts == nil {
		return "", nil, fmt.Errorf("plan %s: its limits are not an array of texts", name)
	}
	for i, text := range texts {
		if text == nil {
			return "", nil, fmt.Errorf("plan %s: its limits are not an array of texts", name)
		}
		limit, err := keystore.ParseLimit(*text)
		if err != nil {
			return "", nil, fmt.Errorf("plan %s: limit %d: %w", name, i+1, err)
		}
		limits = append(limits, limit)
	}
	return name, limits, nil
}
