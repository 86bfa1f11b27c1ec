import type { RecordPage } from '@remit/contract/audit'
import { decisions, eventNames } from '@remit/contract/events'
import { useEffect, useState } from 'preact/hooks'
import type { Api } from '../../api.ts'
import { AsyncAnswer } from '../../parts/async-answer.tsx'
import { counted } from '../../parts/counted.ts'
import { Heading } from '../../parts/heading.tsx'
import { inUtc, Moment } from '../../parts/moment.tsx'
import { ProblemBox } from '../../parts/problem.tsx'
import { recordPath } from '../../paths.ts'
import { go, withQuery } from '../../router.tsx'
import { asProblem, useAnswer, useConsole } from '../../use-answer.ts'
import { Entries } from './entries.tsx'

const fields = ['object', 'subject', 'actor', 'client', 'txn', 'event', 'decision', 'since', 'until'] as const
type Filter = Readonly<Partial<Record<(typeof fields)[number], string>>>

/** The record by filter, newest first. */
export function Search({ query }: { readonly query: URLSearchParams }) {
  const filter: Filter = Object.fromEntries(
    fields.flatMap((name) => (query.get(name) ? [[name, query.get(name)]] : [])),
  )
  const key = JSON.stringify(filter)
  return (
    <>
      <Heading title="The record" />
      <FilterForm key={`form ${key}`} filter={filter} />
      <Found key={key} filter={filter} />
    </>
  )
}

const ask = (api: Api, filter: Filter, cursor?: string, signal?: AbortSignal): Promise<RecordPage> =>
  api.get(withQuery('/audit', { ...filter, cursor }), signal)

function FilterForm({ filter }: { readonly filter: Filter }) {
  const text = (name: 'object' | 'subject' | 'actor' | 'client' | 'txn', label: string, example: string) => (
    <label>
      {label}
      <input
        type="text"
        name={name}
        value={filter[name] ?? ''}
        placeholder={example}
        autocomplete="off"
        spellcheck={false}
      />
    </label>
  )
  return (
    <form
      class="filters"
      role="search"
      aria-label="The record"
      onSubmit={(event) => {
        event.preventDefault()
        go(recordPath(filterOf(new FormData(event.currentTarget))))
      }}
    >
      {text('object', 'About', 'document:…')}
      {text('subject', 'Person', 'user:…')}
      {text('actor', 'Agent', 'agent:…')}
      {text('client', 'Client', '')}
      {text('txn', 'Action (txn)', 't_…')}
      <label>
        Event
        <select name="event">
          <option value="">any</option>
          {eventNames.map((name) => (
            <option key={name} value={name} selected={name === filter.event}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label>
        Decision
        <select name="decision">
          <option value="">any</option>
          {decisions.map((name) => (
            <option key={name} value={name} selected={name === filter.decision}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <Moment name="since" title="From (UTC)" value={filter.since} />
      <Moment name="until" title="Before (UTC)" value={filter.until} />
      <div class="buttons">
        <button type="submit" class="main">
          Search
        </button>
        <button type="button" onClick={() => go('/record')}>
          Clear
        </button>
      </div>
    </form>
  )
}

function filterOf(form: FormData): Filter {
  const value = (name: string): string => String(form.get(name) ?? '').trim()
  return Object.fromEntries(
    fields.flatMap((name) => {
      const typed = value(name)
      if (typed === '') return []
      return [[name, name === 'since' || name === 'until' ? inUtc(typed) : typed]]
    }),
  )
}

function Found({ filter }: { readonly filter: Filter }) {
  const answer = useAnswer(`record ${JSON.stringify(filter)}`, (api, signal) =>
    ask(api, filter, undefined, signal),
  )
  return (
    <AsyncAnswer answer={answer} subject="the record">
      {(firstPage) => <Pages firstPage={firstPage} filter={filter} />}
    </AsyncAnswer>
  )
}

function Pages({ firstPage, filter }: { readonly firstPage: RecordPage; readonly filter: Filter }) {
  const { api } = useConsole()
  const [entries, setEntries] = useState(firstPage.records)
  const [next, setNext] = useState(firstPage.next_cursor)
  const [isAsking, setAsking] = useState(false)
  const [problem, setProblem] = useState<ReturnType<typeof asProblem>>()

  async function loadMore(): Promise<void> {
    setAsking(true)
    try {
      const page = await ask(api, filter, next)
      setEntries((current) => [...current, ...page.records])
      setNext(page.next_cursor)
    } catch (thrown) {
      setProblem(asProblem(thrown))
    } finally {
      setAsking(false)
    }
  }

  const count = counted(entries.length, 'record')
  return (
    <>
      <Said
        text={
          entries.length === 0
            ? 'Nothing on record fits.'
            : `${count}${next === undefined ? '' : ', and older ones'}.`
        }
      />
      {entries.length > 0 && <Entries entries={entries} />}
      {problem !== undefined && <ProblemBox problem={problem} />}
      {next !== undefined && (
        <button type="button" disabled={isAsking} onClick={() => void loadMore()}>
          Older ones
        </button>
      )}
    </>
  )
}

/** Said to whoever does not see the list grow. The element has to be there before its text. */
function Said({ text }: { readonly text: string }) {
  const [message, setSaid] = useState('')
  useEffect(() => setSaid(text), [text])
  return (
    <p role="status" class="soft">
      {message}
    </p>
  )
}
