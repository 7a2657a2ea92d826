package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"expost/internal/mail"
)

const id = mail.AccountID("example.org/ajay")

// enter enters and fails the test where that is refused.
func enter(t *testing.T, g *Gate) (context.Context, func()) {
	t.Helper()
	ctx, leave, err := g.Enter(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, leave
}

func TestFreezeEndsSessionsAndWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(0)
		session, leaveSession := enter(t, g)
		_, leaveDelivery := enter(t, g)
		_, other, err := g.Enter(t.Context(), "example.org/anup")
		if err != nil {
			t.Fatal(err)
		}
		defer other()
		var frozen atomic.Bool
		var thaw func()
		go func() {
			var err error
			if thaw, err = g.Freeze(t.Context(), id); err != nil {
				t.Error(err)
			}
			frozen.Store(true)
		}()
		<-session.Done()
		if !errors.Is(context.Cause(session), ErrFrozen) {
			t.Errorf("the session's cause is %v", context.Cause(session))
		}
		leaveSession()
		leaveSession() // a second time does nothing
		synctest.Wait()
		if frozen.Load() {
			t.Fatal("frozen while a delivery was inside")
		}
		leaveDelivery()
		synctest.Wait()
		if !frozen.Load() {
			t.Fatal("not frozen though everybody has left")
		}
		var entered atomic.Bool
		go func() {
			_, leave := enter(t, g)
			entered.Store(true)
			leave()
		}()
		<-time.After(DefaultWait - time.Second)
		if entered.Load() {
			t.Fatal("somebody came in while the account was frozen")
		}
		thaw()
		synctest.Wait()
		if !entered.Load() {
			t.Fatal("who waited did not come in after the thaw")
		}
		if len(g.accounts) != 1 || g.Inside(id) != 0 {
			t.Errorf("the gate remembers %d accounts", len(g.accounts))
		}
	})
}

func TestEnterGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(5 * time.Second)
		thaw, err := g.Freeze(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, _, err := g.Enter(t.Context(), id); mail.KindOf(err) != mail.KindTemporary || time.Since(began) != 5*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := g.Enter(short, id); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		thaw()
		thaw()
		_, leave := enter(t, g)
		leave()
		if len(g.accounts) != 0 {
			t.Error("the gate remembers an account that nobody is in")
		}
	})
}

func TestFreezeGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := New(0)
		_, leave := enter(t, g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			<-time.After(time.Second / 2)
			if _, err := g.Freeze(t.Context(), id); mail.KindOf(err) != mail.KindTemporary {
				t.Errorf("a second freeze: %v", err)
			}
		}()
		if _, err := g.Freeze(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("freezing gave %v", err)
		}
		_, again := enter(t, g) // it is open again
		again()
		leave()
		if len(g.accounts) != 0 {
			t.Error("the gate remembers an account that nobody is in")
		}
	})
}

func TestFreezeUnderLoad(t *testing.T) {
	t.Parallel()
	g := New(0)
	var inside, frozen atomic.Int64
	var visitors sync.WaitGroup
	for range 8 {
		visitors.Go(func() {
			for range 500 {
				_, leave, err := g.Enter(t.Context(), id)
				if err != nil {
					t.Error(err)
					return
				}
				inside.Add(1)
				if frozen.Load() != 0 {
					t.Error("somebody is inside a frozen account")
				}
				inside.Add(-1)
				leave()
			}
		})
	}
	for range 200 {
		thaw, err := g.Freeze(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		frozen.Store(1)
		if n := inside.Load(); n != 0 {
			t.Errorf("%d inside a frozen account", n)
		}
		frozen.Store(0)
		thaw()
	}
	visitors.Wait()
}
