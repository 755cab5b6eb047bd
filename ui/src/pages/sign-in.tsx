import { useQueryClient } from '@tanstack/react-query'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useState, type FormEvent } from 'react'
import { ApiError, read, session } from '../api/fetch'
import mark from '../app/mark.svg'
import { Button } from '../components/button'
import { CommandLine } from '../components/copy'
import { Failure } from '../components/feedback'
import { Field, Input } from '../components/field'

/** SignIn takes a token, tries it, and goes back to where it was asked for. */
export function SignIn() {
  const { back } = useSearch({ from: '/sign-in' })
  const navigate = useNavigate()
  const cache = useQueryClient()
  const [token, setToken] = useState('')
  const [remember, setRemember] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const [busy, setBusy] = useState(false)
  const enter = async (e: FormEvent) => {
    e.preventDefault()
    setBusy(true)
    session.signIn(token.trim(), remember)
    try {
      await read('/whoami')
      cache.clear()
      await navigate({ href: back ?? '/' } as never)
    } catch (failure) {
      session.signOut()
      setError(failure instanceof ApiError && failure.status === 401 ? new ApiError('The server does not know this token, or it has ended.', 401, 'unauthenticated', 'sluice token ls lists those that are good.', failure.requestId) : failure)
      setBusy(false)
    }
  }
  return (
    <main className="mx-auto flex min-h-dvh max-w-sm flex-col justify-center gap-5 px-5 py-10">
      <span className="flex items-center gap-3"><img src={mark} alt="" width={34} height={34} /><h1 className="text-2xl font-semibold tracking-tight">Sluice</h1></span>
      <form onSubmit={(e) => void enter(e)} className="flex flex-col gap-4 rounded-lg border border-line bg-surface p-5">
        <Field label="Token" hint="Whoever runs this server makes one for you.">{(a) => <Input {...a} type="password" autoComplete="current-password" required value={token} onChange={(e) => setToken(e.target.value)} />}</Field>
        <label className="flex items-center gap-2"><input type="checkbox" checked={remember} onChange={(e) => setRemember(e.target.checked)} /> Stay signed in on this computer</label>
        {error ? <Failure error={error} /> : null}
        <Button kind="primary" type="submit" disabled={busy || !token.trim()}>Sign in</Button>
      </form>
      <div className="flex flex-col gap-1.5 text-muted"><p>A token is made with</p><CommandLine command="sluice token create you --role operator" /></div>
    </main>
  )
}
