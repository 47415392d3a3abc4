// Package apps is the directory of tenants: which apps there are, which keys
// they own, what their plans and limits allow (protocol §1, §6, §7).
//
// It is read from one JSON document, checked whole: a document with a mistake
// is refused with the JSON path and the reason of each mistake, so a typo can
// neither open a door nor close one silently. The result, a [Directory], never
// changes; a new document makes a new one, which a [Store] swaps in while
// requests are being served.
//
// No error, warning or printed form of a [Key] made here contains a secret.
package apps
