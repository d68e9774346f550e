// What a program does that was written against nothing but the description. It is compiled strictly, so that a wrong or
// a loose type is an error; a line that must not compile says so.
import * as assert from 'node:assert/strict'

import {
  followEvents, getLock, getReadiness, getSettings, getStats, listAudit, listHistory, listLockEvents, listLocks,
  listSources, previewRelease, release,
} from './client'
import type { AuditEntry, Event, Holder, Lock, Outcome, Problem, SourceStatus, TransitionKind } from './client'
import { client } from './client/client.gen'

const [base, source, stuck] = process.argv.slice(2) as [string, string, string]
client.setConfig({ baseUrl: base })

/** The answer, where there is one. */
function told<T>(answer: { data?: T; error?: unknown }): T {
  assert.equal(answer.error, undefined, JSON.stringify(answer.error))
  assert.ok(answer.data !== undefined)
  return answer.data
}

/** The problem, where there is none. */
function refused(answer: { error?: Problem; response?: Response }): Problem {
  assert.ok(answer.error, 'it should have been refused')
  assert.equal(answer.error.status, answer.response?.status)
  return answer.error
}

/** The first event of a stream, which ends with that. */
async function nextOf(following: Promise<{ stream: AsyncGenerator<Event, unknown, unknown> }>): Promise<Event> {
  for await (const event of (await following).stream) return event
  throw new Error('the stream ended')
}

async function main(): Promise<void> {
  const sources: SourceStatus[] = told(await listSources()).sources
  assert.deepEqual(sources.map((one) => one.name), [source])
  assert.equal(sources[0]?.state, 'live')
  assert.equal(told(await getReadiness()).ready, true)
  assert.equal(told(await getSettings()).release?.enabled, true)

  const page = told(await listLocks({ query: { q: 'stock', state: 'held', sort: 'name', order: 'desc', limit: 2 } }))
  assert.equal(page.total, 3)
  assert.equal(page.coverage.complete, true)
  assert.deepEqual(page.locks.map((lock) => lock.id), ['lock:stock:3', 'lock:stock:2'])
  assert.ok(!Number.isNaN(Date.parse(page.as_of)))
  // @ts-expect-error: there is no such order
  await listLocks({ query: { sort: 'size' } })

  const path = { source, id: stuck }
  const lock: Lock = told(await getLock({ path }))
  const holder: Holder | undefined = lock.holders[0]
  assert.ok(holder)
  assert.equal(lock.state, 'held')
  const left: number | null | undefined = holder.lease.ttl_ms
  assert.ok(typeof left === 'number' && left > 0)
  assert.equal(holder.identity.host ?? null, null)

  const timeline = told(await listLockEvents({ path, query: { limit: 10 } }))
  const kinds: TransitionKind[] = timeline.events.map((event) => event.transition)
  assert.ok(kinds.length > 0)

  // What is refused is a problem of a kind that programs can tell.
  const missing = refused(await getLock({ path: { source, id: 'lock:no/such' } }))
  assert.equal(missing.type, '/problems/not-held')
  assert.match(missing.detail, /lock:no\/such/)
  assert.equal(refused(await listLocks({ query: { source: 'nowhere' } })).type, '/problems/unknown-source')

  const target = { source, id: stuck, generation: lock.generation }
  // @ts-expect-error: a lock is released as it was seen, or not at all
  refused(await previewRelease({ body: { locks: [{ source, id: stuck }] } }))
  const former = await previewRelease({ body: { locks: [{ ...target, generation: 'an older one' }] } })
  assert.equal(refused(former).type, '/problems/changed-hands')
  assert.ok(former.error && 'holder_now' in former.error)
  const now: Holder | null | undefined = former.error.holder_now
  assert.equal(now?.token_b64, holder.token_b64)

  // What happens is told while it happens.
  const last = timeline.events[0]?.id
  const next: Promise<Event> = nextOf(followEvents({ query: { lock: stuck, last_event_id: last } }))

  const preview = told(await previewRelease({ body: { locks: [target], action: 'release' } }))
  assert.equal(preview.locks[0]?.strength, 'atomic')
  const { ticket, confirm } = preview
  const wrong = refused(await release({ body: { ticket, confirm: 'something else', reason: 'a test' } }) as { error?: Problem })
  assert.equal(wrong.type, '/problems/unconfirmed')
  const done = told(await release({ body: { ticket, confirm, reason: 'it is stuck' } }))
  const outcomes: Outcome[] = done.results.map((result) => result.outcome)
  assert.deepEqual(outcomes, ['released'])

  const event = await next
  assert.deepEqual([event.transition, event.lock, event.holder_b64], ['forced', stuck, holder.token_b64])

  const audit = told(await listAudit({ query: { lock: stuck, outcome: 'released', format: 'json' } }))
  const entry: AuditEntry | undefined = audit.entries[0]
  assert.ok(entry)
  assert.equal(entry.reason, 'it is stuck')
  const intention = told(await listAudit({ query: { lock: stuck, outcome: 'attempted' } })).entries[0]
  assert.deepEqual([intention?.reason, intention?.seq], ['it is stuck', entry.attempt])

  const history = told(await listHistory({ query: { lock: stuck, transition: 'forced' } }))
  assert.equal(history.events.length, 1)
  assert.equal(told(await getStats({ query: { lock: stuck } })).stats.forced, 1)
}

main().then(
  () => {
    console.log('everything as described')
    // The stream is still open, which would keep the program.
    process.exit(0)
  },
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  },
)
