package main

// charts are what the template's function chart can draw. Like it, they note what
// is missing.
var charts = map[string]func(p *page) *drawing{
	"lookup":     lookupChart,
	"throughput": throughputChart,
	"keys":       keysChart,
	"peers":      peersChart,
}

// The order of the backends, and how a chart calls them.
var backends = []struct{ name, title string }{
	{"badger", "Badger"}, {"redis", "Redis"}, {"redis-cluster", "Redis Cluster"}, {"mongo", "MongoDB (scripted)"},
}

var rawAndOurs = []series{{"the driver's bare read", grey}, {"Lookup, not cached", blue}}

// lookupChart shows what one caller waits for, by backend. README shows it.
func lookupChart(p *page) *drawing {
	var groups []group
	for _, b := range backends {
		uncached := "Lookup/backend=" + b.name + "/case=hit-uncached/keys=10000/callers=1"
		cached := "Lookup/backend=" + b.name + "/case=hit-cached/keys=10000/callers=1"
		groups = append(groups, group{b.title, []bar{
			{0, p.must(uncached, "raw-ns/op"), ""},
			{1, p.must(uncached, "ours-ns/op"), p.times(uncached)},
			{2, p.must(cached, "ours-ns/op"), ""},
		}})
	}
	return barChart("One lookup of an API key, one caller", "time of a lookup; shorter is better",
		append(rawAndOurs[:2:2], series{"Lookup, cached", orange}), groups)
}

// throughputChart shows how many lookups a second several callers get from Redis.
func throughputChart(p *page) *drawing {
	var groups []group
	for _, callers := range []string{"1", "8", "128"} {
		name := "Lookup/backend=redis/case=hit-uncached/keys=10000/callers=" + callers
		title := callers + " callers"
		if callers == "1" {
			title = "1 caller"
		}
		groups = append(groups, group{title, []bar{
			{0, p.must(name, "raw-ns/op").rate(), ""},
			{1, p.must(name, "ours-ns/op").rate(), ""},
		}})
	}
	return barChart("Lookups of several callers on Redis", "lookups a second; longer is better", rawAndOurs, groups)
}

// keysChart shows the cost by the number of keys in a Badger store.
func keysChart(p *page) *drawing {
	raw, ours := []point{}, []point{}
	for keys, x := "1000", 1e3; x <= 1e7; keys, x = keys+"0", x*10 {
		name := "Lookup/backend=badger/case=hit-uncached/keys=" + keys + "/callers=1"
		if x == 1e7 && !p.has(name) {
			continue
		}
		raw = append(raw, point{x, p.must(name, "raw-ns/op")})
		ours = append(ours, point{x, p.must(name, "ours-ns/op")})
	}
	return curveChart("One lookup on Badger, by the number of keys", "keys in the store", rawAndOurs, [2][]point{raw, ours})
}

// peersChart shows what else looks a token up, on an axis of powers of ten.
func peersChart(p *page) *drawing {
	var groups []group
	for _, peer := range []struct {
		title, name, unit string
		series            int
	}{
		{"SHA-256 and one load of a map", "Floor/keys=1000/callers=1", "raw-ns/op", 1},
		{"keystore, cached", "Memory/peer=jwt-hs256/cache=on/callers=1", "ours-ns/op", 0},
		{"go-oauth2, memory", "Memory/peer=go-oauth2/cache=on/callers=1", "raw-ns/op", 1},
		{"golang-jwt, HS256", "Memory/peer=jwt-hs256/cache=on/callers=1", "raw-ns/op", 1},
		{"keystore, Redis", "Redis/peer=scs/cache=off/callers=1", "ours-ns/op", 0},
		{"alexedwards/scs, Redis", "Redis/peer=scs/cache=off/callers=1", "raw-ns/op", 1},
		{"gorilla/sessions, Redis", "Redis/peer=gorilla-redistore/cache=off/callers=1", "raw-ns/op", 1},
		{"bcrypt digests, 1 key", "Memory/peer=bcrypt-scan/keys=1/cache=on/callers=1", "raw-ns/op", 1},
		{"bcrypt digests, 10 keys", "Memory/peer=bcrypt-scan/keys=10/cache=on/callers=1", "raw-ns/op", 1},
		{"bcrypt digests, 100 keys", "Memory/peer=bcrypt-scan/keys=100/cache=on/callers=1", "raw-ns/op", 1},
	} {
		groups = append(groups, group{peer.title, []bar{{peer.series, p.must(peer.name, peer.unit), ""}}})
	}
	return dotChart("What it takes to check a token", "time of one check, in powers of ten; further left is better",
		[]series{{"keystore", blue}, {"others", grey}}, groups)
}

// must is a figure that the chart cannot do without.
func (p *page) must(name, unit string) figure {
	f, _ := p.lookUp(name, unit, nil)
	return f
}

// times is the ratio as a note behind a bar.
func (p *page) times(name string) string { return "(" + p.must(name, "ratio").times() + ")" }
