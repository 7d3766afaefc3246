package main

import (
	"crypto/rand"
	"net/http"
	"sync"
)

// demoLogins stands for the login that an application has anyway. It asks for no
// password: whoever names a user is that user. Never use it for anything else.
type demoLogins struct {
	mu    sync.Mutex
	users map[string]string // by session
}

const sessionCookie = "demo_session"

func newDemoLogins() *demoLogins { return &demoLogins{users: map[string]string{}} }

// user is who sent the request, "" for nobody.
func (l *demoLogins) user(r *http.Request) string {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.users[cookie.Value]
}

func (l *demoLogins) login(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("user")
	if _, known := plans[user]; !known {
		http.Error(w, "There is no such user.", http.StatusForbidden)
		return
	}
	session := rand.Text()
	l.mu.Lock()
	l.users[session] = user
	l.mu.Unlock()
	setSession(w, session, 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (l *demoLogins) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		l.mu.Lock()
		delete(l.users, cookie.Value)
		l.mu.Unlock()
	}
	setSession(w, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// setSession sets the cookie. Over HTTPS it would be Secure too, and its name begin
// with __Host-.
func setSession(w http.ResponseWriter, session string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: session, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
