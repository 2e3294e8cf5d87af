package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"reflect"

	"github.com/sluice-cni/sluice/agent/source"
)

// objectTexts are a cluster's objects in JSON, kept from one writing for the next: a large cluster has tens of
// thousands, of which a few have changed.
type objectTexts map[string]*listText

// write writes what json.Marshal makes of the objects.
func (t objectTexts) write(w *bufio.Writer, objects source.Objects) error {
	all := reflect.ValueOf(objects)
	opening := "{"
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if t[name] == nil {
			t[name] = &listText{items: reflect.Zero(all.Field(i).Type())}
		}
		if err := t[name].take(all.Field(i)); err != nil {
			return err
		}
		_, _ = w.WriteString(opening + `"` + name + `":`)
		t[name].write(w)
		opening = ","
	}
	return w.WriteByte('}')
}

// listText is a list of objects of one kind.
type listText struct {
	items reflect.Value // a slice
	texts [][]byte
}

// nearby is how many objects of the last list are looked through for one: so many may have gone in a row without
// the rest of the list being written anew.
const nearby = 16

// take makes the texts those of other items, both lists being mostly in one order.
func (l *listText) take(items reflect.Value) error {
	if l.items.Len() == items.Len() && l.items.Pointer() == items.Pointer() {
		return nil
	}
	next := make([][]byte, items.Len())
	for i, at := 0, 0; i < len(next); i++ {
		found := at
		for found < min(at+nearby, len(l.texts)) && !sameReferences(l.items.Index(found), items.Index(i)) {
			found++
		}
		if found < min(at+nearby, len(l.texts)) {
			next[i], at = l.texts[found], found+1
			continue
		}
		var err error
		if next[i], err = json.Marshal(items.Index(i).Addr().Interface()); err != nil {
			return err
		}
	}
	l.items, l.texts = items, next
	return nil
}

func (l *listText) write(w *bufio.Writer) {
	if l.items.IsNil() {
		_, _ = w.WriteString("null")
		return
	}
	_ = w.WriteByte('[')
	for i, text := range l.texts {
		if i > 0 {
			_ = w.WriteByte(',')
		}
		_, _ = w.Write(text)
	}
	_ = w.WriteByte(']')
}

// sameReferences tells whether two values of one type are, by what they refer to: two that differ in that may be
// alike nevertheless. What a source has given out it does not change.
func sameReferences(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !sameReferences(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		return a.Len() == b.Len() && a.Pointer() == b.Pointer()
	case reflect.Map, reflect.Pointer:
		return a.Pointer() == b.Pointer()
	case reflect.String:
		return a.String() == b.String()
	case reflect.Bool:
		return a.Bool() == b.Bool()
	}
	return a.CanInt() && a.Int() == b.Int() || a.CanUint() && a.Uint() == b.Uint()
}

// writeRemembered writes what json.Marshal makes of r.
func (t objectTexts) writeRemembered(to io.Writer, r remembered) error {
	version, err := json.Marshal(r.Version)
	gone, err2 := json.Marshal(r.Gone)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	w := bufio.NewWriterSize(to, 1<<16)
	_, _ = w.WriteString(`{"version":` + string(version) + `,"objects":`)
	if err := t.write(w, r.Objects); err != nil {
		return err
	}
	if len(r.Gone) > 0 {
		_, _ = w.WriteString(`,"gone":` + string(gone))
	}
	_ = w.WriteByte('}')
	return w.Flush()
}
