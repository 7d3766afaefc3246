package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"example.com/keystore"
)

// edits is what update was asked for; nil and unset fields change nothing.
type edits struct {
	name, description *string
	scopes            *[]string // instead of all there are
	addScopes         []string
	removeScopes      []string
	metadata          map[string]string
	removeMetadata    []string
	plan              *string
	limits            []keystore.Limit // instead of those of the same names
	removeLimits      []string
	noLimits          bool
}

func (a *app) update() *cobra.Command {
	var (
		name, description         string
		scopes, metadata          []string
		noScopes                  bool
		addScopes, dropScopes     []string
		dropMetadata, changeFlags []string
		plan                      string
		noPlan, noLimits          bool
		limits, dropLimits        []string
	)
	cmd := a.command("update ID", "Change what is named, and nothing else",
		`Changes what is named, and nothing else. --scope and --no-scopes replace all scopes;
--metadata and --limit set single ones. Reserved scopes can be kept or dropped, not
added.`,
		`  keystore update 0000000000000000 --name ci --add-scope orders:read
  keystore update 0000000000000000 --metadata team=web --remove-metadata ticket
  keystore update 0000000000000000 --plans plans.json --plan pro --no-limits`,
		oneArgument("the id of a key"), func(cmd *cobra.Command, args []string) error {
			if len(givenFlags(cmd, changeFlags)) == 0 {
				return usagef("nothing to change is named; see '%s --help'", cmd.CommandPath())
			}
			if err := switches(cmd, "no-scopes", "no-plan", "no-limits"); err != nil {
				return err
			}
			if cmd.Flags().Changed("plan") && plan == "" {
				return usagef("--plan is empty; --no-plan takes the plan away")
			}
			for _, pair := range [][]string{{"plan", "no-plan"}, {"no-limits", "limit"}, {"no-limits", "remove-limit"}} {
				if err := only(cmd, pair...); err != nil {
					return err
				}
			}
			for _, edit := range []string{"add-scope", "remove-scope"} {
				if err := only(cmd, "scope", "no-scopes", edit); err != nil {
					return err
				}
			}
			entries, err := parseMetadata(metadata)
			if err != nil {
				return err
			}
			set, err := parseLimits(limits)
			if err != nil {
				return err
			}
			e := edits{
				addScopes: addScopes, removeScopes: dropScopes, metadata: entries, removeMetadata: dropMetadata,
				limits: set, removeLimits: dropLimits, noLimits: noLimits,
			}
			if plan != "" {
				if err := a.checkPlan(plan); err != nil {
					return err
				}
			}
			if plan != "" || noPlan {
				e.plan = &plan
			}
			if cmd.Flags().Changed("name") {
				e.name = &name
			}
			if cmd.Flags().Changed("description") {
				e.description = &description
			}
			if cmd.Flags().Changed("scope") || noScopes {
				e.scopes = &scopes
			}
			return a.showResult(cmd, func(ctx context.Context, ks *keystore.Keystore) (keystore.Key, error) {
				return ks.Update(ctx, args[0], e.apply)
			})
		})
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "new `name`")
	flags.StringVar(&description, "description", "", "new `description`")
	flags.StringArrayVar(&scopes, "scope", nil, "`scope` to grant instead of all there are (repeatable)")
	flags.BoolVar(&noScopes, "no-scopes", false, "take all scopes away")
	flags.StringArrayVar(&addScopes, "add-scope", nil, "`scope` to grant besides (repeatable)")
	flags.StringArrayVar(&dropScopes, "remove-scope", nil, "`scope` to take away (repeatable)")
	flags.StringArrayVar(&metadata, "metadata", nil, "`KEY=VALUE` to set (repeatable)")
	flags.StringArrayVar(&dropMetadata, "remove-metadata", nil, "`key` of an entry to remove (repeatable)")
	flags.StringVar(&plan, "plan", "", "`plan` of those in the file of --plans, whose limits hold for it")
	flags.BoolVar(&noPlan, "no-plan", false, "take its plan away")
	flags.StringArrayVar(&limits, "limit", nil, "`limit` of its own to set, such as \"day 100/24h\" (repeatable)")
	flags.StringArrayVar(&dropLimits, "remove-limit", nil, "`name` of a limit of its own to remove (repeatable)")
	flags.BoolVar(&noLimits, "no-limits", false, "remove all limits of its own")
	changeFlags = []string{"name", "description", "scope", "no-scopes", "add-scope", "remove-scope", "metadata", "remove-metadata",
		"plan", "no-plan", "limit", "remove-limit", "no-limits"}
	return cmd
}

// apply makes the changes. It may run again, on newer values.
func (e *edits) apply(c *keystore.Changes) error {
	if e.name != nil {
		c.Name = *e.name
	}
	if e.description != nil {
		c.Description = *e.description
	}
	if e.scopes != nil {
		c.Scopes = slices.Clone(*e.scopes)
	}
	c.Scopes = append(c.Scopes, e.addScopes...)
	for _, scope := range e.removeScopes {
		if !slices.Contains(c.Scopes, scope) { // a typing error would leave it in force
			return usagef("the key does not have a scope that --remove-scope names; nothing was changed")
		}
	}
	c.Scopes = slices.DeleteFunc(c.Scopes, func(s string) bool { return slices.Contains(e.removeScopes, s) })
	for key, value := range e.metadata {
		c.Metadata[key] = value
	}
	for _, key := range e.removeMetadata {
		if _, ok := c.Metadata[key]; !ok {
			return usagef("the key does not have an entry that --remove-metadata names; nothing was changed")
		}
		delete(c.Metadata, key)
	}
	return e.applyLimits(c)
}

func (e *edits) applyLimits(c *keystore.Changes) error {
	if e.plan != nil {
		c.Plan = *e.plan
	}
	if e.noLimits {
		c.Limits = nil
	}
	for _, l := range e.limits {
		c.Limits = append(slices.DeleteFunc(c.Limits, limitCalled(l.Name)), l)
	}
	for _, name := range e.removeLimits {
		if !slices.ContainsFunc(c.Limits, limitCalled(name)) {
			return usagef("the key does not have a limit of its own that --remove-limit names; nothing was changed")
		}
		c.Limits = slices.DeleteFunc(c.Limits, limitCalled(name))
	}
	return nil
}

func (a *app) disable() *cobra.Command {
	return a.onKey("disable ID", "Switch a key off, until it is enabled", "Switches a key off. enable switches it on again.",
		"  keystore disable 0000000000000000",
		func(ctx context.Context, ks *keystore.Keystore, id string) (keystore.Key, error) {
			return ks.Update(ctx, id, switched(true))
		})
}

func (a *app) enable() *cobra.Command {
	return a.onKey("enable ID", "Switch a key on again", "Switches a key on that disable has switched off.",
		"  keystore enable 0000000000000000",
		func(ctx context.Context, ks *keystore.Keystore, id string) (keystore.Key, error) {
			return ks.Update(ctx, id, switched(false))
		})
}

// switched switches a key off or on by an administrator's word: its owner cannot
// undo it through the HTTP API, also where it was the owner who had switched it off.
func switched(off bool) func(*keystore.Changes) error {
	return func(c *keystore.Changes) error {
		c.Disabled = off
		delete(c.Metadata, "keystore:disabled-by") // the owner's mark; see package adminapi
		return nil
	}
}
