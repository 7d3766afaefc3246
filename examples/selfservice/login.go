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

// maxForm is how long the login form may be, in bytes: whoever fills it in is nobody yet.
const maxForm = 4 << 10

func (l *demoLogins) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	user := r.PostFormValue("user")
	if _, known := plans[user]; !known {
		http.Error(w, "There is no such user.", http.StatusForbidden)
		return
	}
	l.end(r)
	session := rand.Text() // a new one each time: nobody can have planted it
	l.mu.Lock()
	l.users[session] = user
	l.mu.Unlock()
	setSession(w, session, 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (l *demoLogins) logout(w http.ResponseWriter, r *http.Request) {
	l.end(r)
	setSession(w, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// end forgets the session of a request, if it has one.
func (l *demoLogins) end(r *http.Request) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return
	}
	l.mu.Lock()
	delete(l.users, cookie.Value)
	l.mu.Unlock()
}

// setSession sets the cookie. Over HTTPS it would be Secure too, and its name begin
// with __Host-.
func setSession(w http.ResponseWriter, session string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: session, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}
