package main

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchunit"
)

// quantity writes v, which is in that unit of the results, as the page does: three
// digits, a unit that suits them, and nothing of what is measured per operation.
// 1.22e-5 sec/op is "12.2 us".
func quantity(v float64, unit string) string {
	number, suffix := scaled(v, unit)
	if suffix == "" {
		return number
	}
	return number + " " + suffix
}

// scaled is quantity in two: the number and its unit, which may be empty.
func scaled(v float64, unit string) (number, suffix string) {
	what, per, _ := strings.Cut(unit, "/")
	words := strings.Split(what, "-") // over-floor-ns, p99-us
	if factor, ok := seconds(words); ok {
		s := scale(v * factor)
		return digits(v * factor / s.Factor), strings.ReplaceAll(s.Prefix, "µ", "u") + "s"
	}
	switch rate := per == "s" || per == "sec"; {
	case slices.Contains(words, "B"):
		suffix = "B"
		if rate {
			suffix = "B/s"
		}
		if -1e4 < v && v < 1e4 {
			return spaced(strconv.FormatFloat(v, 'f', 0, 64)), suffix
		}
		s := scale(v)
		return digits(v / s.Factor), s.Prefix + suffix
	case rate:
		return digits(v), "/s"
	case isRatio(unit):
		return ratio(v), ""
	case v == float64(int64(v)) && -1000 < v && v < 1000: // a count
		return strconv.FormatFloat(v, 'f', 0, 64), ""
	}
	return digits(v), ""
}

// seconds is what one of the unit is in seconds, if it is a time.
func seconds(words []string) (factor float64, ok bool) {
	for _, w := range words {
		switch w {
		case "sec", "s":
			return 1, true
		case "ms":
			return 1e-3, true
		case "us":
			return 1e-6, true
		}
	}
	return 0, false
}

// scale is the prefix that suits v after rounding: 1.00 ms and not 1 000 us.
func scale(v float64) benchunit.Scaler {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64)
	return benchunit.CommonScale([]float64{v}, benchunit.Decimal)
}

func isRatio(unit string) bool { return unit == "ratio" || unit == "speedup" }

// ratio has two digits after the point, or two at all if it is tiny.
func ratio(v float64) string {
	switch {
	case 0.1 <= v && v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case 1e-4 <= v && v < 0.1:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return digits(v)
}

// digits rounds to three digits: 0.123, 12.3, 12 300.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	short := strconv.FormatFloat(v, 'e', 2, 64) // d.dde±xx
	v, _ = strconv.ParseFloat(short, 64)
	_, exponent, _ := strings.Cut(short, "e")
	e, _ := strconv.Atoi(exponent)
	return spaced(strconv.FormatFloat(v, 'f', max(0, 2-e), 64))
}

// spaced parts the thousands of a whole number by spaces.
func spaced(number string) string {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "-", number[1:]
	}
	if strings.Contains(number, ".") {
		return sign + number
	}
	var parts []string
	for len(number) > 3 {
		parts = append([]string{number[len(number)-3:]}, parts...)
		number = number[:len(number)-3]
	}
	return sign + strings.Join(append([]string{number}, parts...), " ")
}

// trimmed cuts off the zeros after a point, for numbers that are exact.
func trimmed(number string) string {
	if !strings.Contains(number, ".") {
		return number
	}
	return strings.TrimRight(strings.TrimRight(number, "0"), ".")
}
