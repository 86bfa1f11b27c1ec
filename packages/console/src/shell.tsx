import { useEffect, useRef } from 'preact/hooks'
import { Heading } from './parts/heading.tsx'
import { SignedIn } from './parts/signed-in.tsx'
import { Link, useRoute } from './router.tsx'
import type { Section } from './section.ts'
import { type Console, ConsoleContext } from './use-answer.ts'
import { agentViews } from './views/agents/index.tsx'
import { delegationViews } from './views/delegations/index.tsx'
import { modelViews } from './views/model/model.tsx'
import { overviewViews } from './views/overview/index.tsx'
import { peopleViews } from './views/people/index.tsx'
import { readersViews } from './views/questions/readers.tsx'
import { readsViews } from './views/questions/reads.tsx'
import { recordViews } from './views/record/index.tsx'
import { whatIfViews } from './views/what-if/what-if.tsx'
import { explainViews } from './views/why/explain.tsx'
import { viewAsViews } from './views/why/view-as.tsx'
import { whoCanViews } from './views/why/who-can.tsx'

const sections: readonly Section[] = [
  overviewViews,
  recordViews,
  readersViews,
  readsViews,
  explainViews,
  whoCanViews,
  viewAsViews,
  whatIfViews,
  modelViews,
  agentViews,
  delegationViews,
  peopleViews,
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

function Nothing({
  firstSegment,
  visibleSections,
}: {
  readonly firstSegment: string
  readonly visibleSections: readonly Section[]
}) {
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
