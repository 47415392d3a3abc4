package cmd

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReadAnswer(t *testing.T) {
	if got, err := readAnswer(t.Context(), strings.NewReader(" Yes \n")); got != "yes" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := readAnswer(t.Context(), strings.NewReader("")); got != "" || err != nil {
		t.Errorf("at the end of the input: %q, %v", got, err)
	}
	// Ctrl-C, while nobody types.
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	silent, keyboard := io.Pipe()
	defer keyboard.Close()
	if got, err := readAnswer(ctx, silent); got != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %q, %v", got, err)
	}
}
