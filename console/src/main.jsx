import { render } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { Failure, request } from './api.js'
import './style.css'

function Console() {
  const [session, setSession] = useState(undefined) // undefined: not known yet; null: not signed in
  const [failure, setFailure] = useState(null)

  const look = async () => {
    setFailure(null)
    try {
      setSession(await request('GET', 'session'))
    } catch (e) {
      if (!(e instanceof Failure)) throw e
      if (e.status !== 401) setFailure(e)
      setSession(null)
    }
  }
  useEffect(() => { look() }, [])

  if (session === undefined) return <main><p>Loading…</p></main>
  if (session === null) return <SignIn failure={failure} onSignedIn={look} />
  const signOut = async () => {
    await request('DELETE', 'session')
    setSession(null)
  }
  return (
    <main>
      <h1>Fleetwire console</h1>
      <p>Signed in with key <code>{session.key}</code> of app <code>{session.app}</code>.</p>
      <button type="button" onClick={signOut}>Sign out</button>
    </main>
  )
}

function SignIn({ failure, onSignedIn }) {
  const [problem, setProblem] = useState(failure?.message ?? '')
  const submit = async (event) => {
    event.preventDefault()
    const form = event.currentTarget
    try {
      await request('POST', 'session', { headers: { Authorization: `Bearer ${form.elements.key.value.trim()}` } })
      form.reset()
      await onSignedIn()
    } catch (e) {
      setProblem(e.message)
    }
  }
  return (
    <main>
      <h1>Fleetwire console</h1>
      <form onSubmit={submit}>
        <label>Secret key <input name="key" type="password" autocomplete="off" required /></label>
        <button>Sign in</button>
        <p role="alert">{problem}</p>
      </form>
    </main>
  )
}

render(<Console />, document.getElementById('console'))
