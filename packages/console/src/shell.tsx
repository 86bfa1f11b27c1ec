import type { ComponentChildren, ComponentType } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { type Inputs, inputsOf } from './parts/form.tsx'
import { Heading } from './parts/heading.tsx'
import { Link, type Route, useRoute } from './router.tsx'
import { type Console, ConsoleContext, useAction, useConsole } from './use-answer.ts'
import { OneAgent } from './views/agents/agent.tsx'
import { Agents } from './views/agents/list.tsx'
import { Delegation, Delegations } from './views/delegations/delegations.tsx'
import { Model } from './views/model/model.tsx'
import { OnePlan } from './views/model/plan.tsx'
import { Overview } from './views/overview.tsx'
import { Group, People, Person } from './views/people.tsx'
import { Readers, Reads } from './views/questions.tsx'
import { Action } from './views/record/action.tsx'
import { Search } from './views/record/list.tsx'
import { WhatIf } from './views/what-if.tsx'
import { Explain } from './views/why/explain.tsx'
import { ViewAs, WhoCan } from './views/why/lists.tsx'

/** What one entry of the navigation leads to. */
interface Section {
  readonly path: string
  readonly title: string
  /** One of these roles: without, the API answers nothing there. */
  readonly roles: readonly ('security.read' | 'security.write' | 'agents.write')[]
  /** `rest`: segments of the path below its own. */
  readonly show: (route: Route, rest: readonly string[]) => ComponentChildren
}

/** A question, with what its address says in these fields; another address is another question. */
const question =
  (View: ComponentType<{ readonly inputs: Inputs }>, fields: readonly string[]) =>
  ({ query }: Route) => {
    const inputs = inputsOf(query, fields)
    return <View key={JSON.stringify(inputs)} inputs={inputs} />
  }

const delegations = question(Delegations, ['subject', 'agent', 'state'])
const readers = ['security.read'] as const

const sections: readonly Section[] = [
  {
    path: '/',
    title: 'Overview',
    roles: readers,
    show: ({ query }) => <Overview hours={query.get('hours') ?? '24'} />,
  },
  {
    path: '/record',
    title: 'Record',
    roles: readers,
    show: ({ query }, [txn]) =>
      txn === undefined ? <Search query={query} /> : <Action key={txn} txn={txn} />,
  },
  {
    path: '/readers',
    title: 'Who got it',
    roles: readers,
    show: question(Readers, ['document', 'since', 'until']),
  },
  {
    path: '/reads',
    title: 'What they got',
    roles: readers,
    show: question(Reads, ['subject', 'agent', 'since', 'until', 'today']),
  },
  {
    path: '/explain',
    title: 'Why',
    roles: readers,
    show: question(Explain, ['user', 'agent', 'delegation', 'grants', 'relation', 'object', 'at']),
  },
  { path: '/who-can', title: 'Who can', roles: readers, show: question(WhoCan, ['relation', 'object']) },
  {
    path: '/view-as',
    title: 'View as',
    roles: readers,
    show: question(ViewAs, ['user', 'agent', 'delegation', 'collection']),
  },
  {
    path: '/what-if',
    title: 'What if',
    roles: readers,
    show: ({ query }) => (
      <WhatIf
        key={query.toString()}
        writes={query.get('writes') ?? ''}
        deletes={query.get('deletes') ?? ''}
      />
    ),
  },
  {
    path: '/model',
    title: 'Model',
    roles: ['security.write'],
    show: (_, [part, id]) =>
      part === 'plans' && id !== undefined ? <OnePlan key={id} id={id} /> : <Model />,
  },
  {
    path: '/agents',
    title: 'Agents',
    roles: ['agents.write', 'security.read'],
    show: ({ query }, [id]) =>
      id === undefined ? <Agents /> : <OneAgent key={id} id={id} endTime={query.get('until') ?? undefined} />,
  },
  {
    path: '/delegations',
    title: 'Delegations',
    roles: readers,
    show: (route, [id]) => (id === undefined ? delegations(route) : <Delegation key={id} id={id} />),
  },
  {
    path: '/people',
    title: 'People',
    roles: readers,
    show: (_, [principal]) => {
      if (principal === undefined) return <People />
      return principal.startsWith('user:') ? (
        <Person key={principal} user={principal} />
      ) : (
        <Group key={principal} group={principal} />
      )
    },
  },
]

/** The frame around every view: navigation by role, the person, and the view of the route. */
export function Shell({ value: signedIn }: { readonly value: Omit<Console, 'leadsTo'> }) {
  const route = useRoute()
  const [, firstSegment = '', ...segments] = route.path.split('/').map(decoded)
  const visibleSections = sections.filter(({ roles }) => roles.some((role) => signedIn.roles.includes(role)))
  const value = {
    ...signedIn,
    leadsTo: (path: string) => visibleSections.some((candidate) => candidate.path === path),
  }
  const list = useRef<HTMLUListElement>(null)
  useEffect(() => {
    // On a narrow screen they stand in one line, of which only a part is seen.
    list.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' })
  }, [firstSegment])
  const section = visibleSections.find(({ path }) => path === `/${firstSegment}`)
  return (
    <ConsoleContext.Provider value={value}>
      <a class="skip" href="#content">
        To the content
      </a>
      <header>
        <Link to="/" class="home">
          <span class="mark" aria-hidden="true">
            ◖
          </span>{' '}
          Remit console
        </Link>
        <SignedIn />
      </header>
      <nav aria-label="Console">
        <ul ref={list}>
          {visibleSections.map(({ path, title }) => (
            <li key={path}>
              <Link to={path} current={path === `/${firstSegment}`}>
                {title}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
      <main id="content">
        {section?.show(route, segments) ?? (
          <Nothing firstSegment={firstSegment} visibleSections={visibleSections} />
        )}
      </main>
    </ConsoleContext.Provider>
  )
}

/** An address that somebody typed may hold a `%` that means nothing. */
function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}

function Nothing(props: { readonly firstSegment: string; readonly visibleSections: readonly Section[] }) {
  const { firstSegment, visibleSections } = props
  const closed = sections.find(({ path }) => path === `/${firstSegment}`)
  const title =
    firstSegment === ''
      ? 'What can be asked here'
      : closed === undefined
        ? 'There is nothing at this address'
        : `${closed.title}: not with your roles`
  return (
    <>
      <Heading title={title} />
      {closed !== undefined && (
        <p>
          It takes the role <code>{closed.roles.join(' or ')}</code>, which the operator gives at the machine.
        </p>
      )}
      <ul class="plain">
        {visibleSections.map(({ path, title }) => (
          <li key={path}>
            <Link to={path}>{title}</Link>
          </li>
        ))}
      </ul>
    </>
  )
}

const lastMinutes = 2
const minuteMs = 60_000

/**
 * Who is signed in, until when, and the way out. Near the end it says so, and whoever works on signs in anew.
 */
function SignedIn() {
  const { subject, until: signedInUntil, signOut, signInAgain } = useConsole()
  const minutesLeft = useMinutesTo(signedInUntil)
  const { doing, problem, run } = useAction()

  async function leave(): Promise<void> {
    // Where it is over there is nothing here any more.
    if (!(await signOut())) throw new Error('The service was not told.')
  }

  return (
    <div class="signed-in">
      <span class="who">
        <span class="unseen">Signed in as </span>
        {subject}
      </span>
      <span role="status" class={minutesLeft > lastMinutes ? 'soft' : 'warn'}>
        {problem !== undefined
          ? 'The service was not told: try again.'
          : minutesLeft > lastMinutes
            ? `until ${clockOf(signedInUntil)}`
            : minutesLeft > 0
              ? `your sign-in ends at ${clockOf(signedInUntil)}`
              : 'your sign-in is over'}
      </span>
      {minutesLeft <= lastMinutes && (
        <button type="button" onClick={signInAgain}>
          Sign in anew
        </button>
      )}
      <button type="button" disabled={doing !== undefined} onClick={() => run(leave)}>
        Sign out
      </button>
    </div>
  )
}

const clockOf = (time: number): string => `${new Date(time).toISOString().slice(11, 16)} UTC`

const minutesTo = (time: number): number => Math.max(0, Math.ceil((time - Date.now()) / minuteMs))

/** Looks as often as it matters. */
function useMinutesTo(time: number): number {
  const [minutesLeft, setLeft] = useState(() => minutesTo(time))
  useEffect(() => {
    const timer = setInterval(() => setLeft(minutesTo(time)), 10_000)
    return () => clearInterval(timer)
  }, [time])
  return minutesLeft
}
