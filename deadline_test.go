package keystore

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// opOf makes the context of one call, and its end.
func opOf(ctx context.Context, timeout time.Duration) (context.Context, func()) {
	s := &Keystore{opts: Options{OpTimeout: timeout}}
	op := s.bound(ctx)
	return op, op.end
}

type valueKey struct{}

// TestOpContextEndsAsAContextDoes compares it with context.WithTimeout, which
// is told of the same things: whether Done is asked for first must not show.
func TestOpContextEndsAsAContextDoes(t *testing.T) {
	for _, c := range []struct {
		name   string
		caller time.Duration // its deadline, 0: none
		events []string
	}{
		{"by its timeout", 0, []string{"wait 1s"}},
		{"by its timeout, then the caller cancels", 0, []string{"wait 1s", "cancel"}},
		{"by its timeout, then by end", 0, []string{"wait 1s", "end"}},
		{"not before its timeout", 0, []string{"wait 999ms"}},
		{"by the caller", time.Minute, []string{"cancel"}},
		{"by the caller, then by its timeout", 0, []string{"cancel", "wait 1s"}},
		{"by the caller's deadline", time.Millisecond, []string{"wait 1ms"}},
		{"by the caller's deadline, then its own", time.Millisecond, []string{"wait 1ms", "wait 1s"}},
		{"by end", 0, []string{"end"}},
		{"by end, then by its timeout", 0, []string{"end", "wait 1s"}},
		{"by end, then by the caller", 0, []string{"end", "cancel"}},
		{"by end, then by the caller's deadline", time.Millisecond, []string{"end", "wait 1ms"}},
	} {
		for _, doneFirst := range []bool{true, false} {
			name := c.name + ", Done asked for last"
			if doneFirst {
				name = c.name + ", Done asked for first"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					caller, cancel := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "v"))
					defer cancel()
					if c.caller > 0 {
						var stop func()
						caller, stop = context.WithTimeout(caller, c.caller)
						defer stop()
					}
					op, end := opOf(caller, time.Second)
					defer end()
					want, endWant := context.WithTimeout(caller, time.Second)
					defer endWant()
					if doneFirst {
						op.Done()
					}
					deadline, ok := op.Deadline()
					wantDeadline, _ := want.Deadline()
					require.True(t, ok)
					require.Equal(t, wantDeadline, deadline)
					for _, event := range append([]string{"begin"}, c.events...) {
						switch event {
						case "begin":
						case "cancel":
							cancel()
						case "end":
							end()
							endWant()
						default:
							wait, err := time.ParseDuration(event[len("wait "):])
							require.NoError(t, err)
							time.Sleep(wait)
							synctest.Wait()
						}
						require.Equal(t, want.Err(), op.Err(), "Err after %s", event)
						require.Equal(t, context.Cause(want), context.Cause(op), "Cause after %s", event)
						require.Equal(t, "v", op.Value(valueKey{}))
						require.Nil(t, op.Value("another key"))
					}
					select {
					case <-op.Done():
						require.Error(t, op.Err(), "Done is closed")
					default:
						require.NoError(t, op.Err(), "Done is open")
					}
					require.Equal(t, want.Err(), op.Err(), "Err after Done")
				})
			})
		}
	}
}

// TestContextsDerivedFromAnOpContextEndWithIt, and run what waits for the end.
func TestContextsDerivedFromAnOpContextEndWithIt(t *testing.T) {
	for name, finish := range map[string]func(cancel, end func()){
		"timeout": func(_, _ func()) { time.Sleep(time.Second) },
		"cancel":  func(cancel, _ func()) { cancel() },
		"end":     func(_, end func()) { end() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, cancel := context.WithCancel(t.Context())
				defer cancel()
				op, end := opOf(caller, time.Second)
				defer end()
				goroutines := runtime.NumGoroutine()
				child, stop := context.WithCancel(op)
				defer stop()
				timed, stopTimed := context.WithTimeout(op, time.Hour)
				defer stopTimed()
				ran, kept := make(chan bool, 1), false
				context.AfterFunc(op, func() { ran <- true })
				keep := context.AfterFunc(op, func() { kept = true })
				require.True(t, keep())
				require.LessOrEqual(t, runtime.NumGoroutine(), goroutines, "none of these needs a goroutine") // those of other tests may end
				require.NoError(t, child.Err())

				finish(cancel, end)
				synctest.Wait()
				require.True(t, <-ran)
				require.False(t, kept)
				for _, c := range []context.Context{child, timed} {
					<-c.Done()
					require.Equal(t, op.Err(), c.Err())
					require.Equal(t, context.Cause(op), context.Cause(c))
				}
			})
		})
	}
}

// TestAnOpContextLeavesNothingBehind: in a bubble a goroutine that stays is a
// deadlock, which fails the test.
func TestAnOpContextLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, doneAfterEnd := range []bool{false, true} {
			op, end := opOf(t.Context(), time.Hour)
			if !doneAfterEnd {
				op.Done()
			}
			end()
			end()
			<-op.Done()
			require.ErrorIs(t, op.Err(), context.Canceled)
		}
	})
}

// TestOpTimeoutNeverLeavesTheCallersDeadline, and adds none.
func TestOpTimeoutNeverLeavesTheCallersDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		op, end := opOf(t.Context(), Never)
		_, bounded := op.Deadline()
		require.False(t, bounded)
		time.Sleep(1000 * time.Hour)
		require.NoError(t, op.Err())
		end()
		<-op.Done()
		require.ErrorIs(t, op.Err(), context.Canceled)

		caller, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		op, end = opOf(caller, Never)
		defer end()
		want, _ := caller.Deadline()
		got, bounded := op.Deadline()
		require.True(t, bounded)
		require.Equal(t, want, got)
		<-op.Done()
		require.ErrorIs(t, op.Err(), context.DeadlineExceeded)
	})
}

// TestAnOpContextIsSafeForConcurrentUse is for the race detector; Done and Err
// agree at each moment.
func TestAnOpContextIsSafeForConcurrentUse(t *testing.T) {
	for range 50 {
		caller, cancel := context.WithCancel(t.Context())
		defer cancel()
		op, end := opOf(caller, time.Millisecond)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 20 {
					switch i % 4 {
					case 0:
						select {
						case <-op.Done():
							if op.Err() == nil {
								t.Error("Done is closed, and Err is nil")
							}
						default:
						}
					case 1:
						if op.Err() != nil {
							<-op.Done()
						}
					case 2:
						op.Value(valueKey{})
						op.Deadline()
					case 3:
						_, stop := context.WithCancel(op)
						stop()
					}
				}
				if i == 0 {
					cancel()
				}
				if i == 1 {
					end()
				}
			})
		}
		all.Wait()
		<-op.Done()
	}
}
