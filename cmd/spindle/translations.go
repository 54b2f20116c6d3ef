package main

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"spindle/cmd/internal/api"
	"spindle/sadb/keysock"
)

// Translations are the translators of the data path, by connection.
func (b *backend) Translations(ctx context.Context) (list []api.Translation, err error) {
	all, err := asked(ctx, b, (*keysock.Client).Translations)
	for _, t := range all {
		list = append(list, api.Translation{
			Conn: t.Conn, Address: t.Address.String(), Worker: t.Worker, InUse: t.TCP + t.UDP + t.ICMP + t.Other, Bound: t.Bound,
			TCP: t.TCP, UDP: t.UDP, ICMP: t.ICMP, Other: t.Other,
			Made: t.Made, Full: t.Full, NoMapping: t.NoMapping, Untranslatable: t.Untranslatable,
		})
	}
	slices.SortFunc(list, func(a, b api.Translation) int {
		return cmp.Or(cmp.Compare(a.Conn, b.Conn), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Worker, b.Worker))
	})
	return list, err
}

var translationColumns = []column[api.Translation]{
	{"CONN", func(r *api.Translation) string { return r.Conn }},
	{"ADDRESS", func(r *api.Translation) string { return r.Address }},
	{"WORKER", func(r *api.Translation) string { return strconv.Itoa(r.Worker) }},
	{"IN USE", func(r *api.Translation) string { return strconv.Itoa(r.InUse) }},
	{"BOUND", func(r *api.Translation) string { return strconv.Itoa(r.Bound) }},
	{"TCP", func(r *api.Translation) string { return strconv.Itoa(r.TCP) }},
	{"UDP", func(r *api.Translation) string { return strconv.Itoa(r.UDP) }},
	{"ICMP", func(r *api.Translation) string { return strconv.Itoa(r.ICMP) }},
	{"OTHER", func(r *api.Translation) string { return strconv.Itoa(r.Other) }},
	{"MADE", func(r *api.Translation) string { return whole(r.Made) }},
	{"DROPPED FULL", func(r *api.Translation) string { return whole(r.Full) }},
	{"NO MAPPING", func(r *api.Translation) string { return whole(r.NoMapping) }},
	{"UNTRANSLATABLE", func(r *api.Translation) string { return whole(r.Untranslatable) }},
}
