import { Heading } from '../../parts/heading.tsx'
import { personPath } from '../../paths.ts'
import { go } from '../../router.tsx'
import type { Section } from '../../section.ts'
import { Group } from './group.tsx'
import { Person } from './person.tsx'

/** `/people/user:anne`, `/people/group:eng`. */
export const peopleViews: Section = {
  path: '/people',
  title: 'People',
  roles: ['security.read'],
  show: (_, [principal]) => {
    if (principal === undefined) return <Find />
    return principal.startsWith('user:') ? (
      <Person key={principal} user={principal} />
    ) : (
      <Group key={principal} group={principal} />
    )
  },
}

const Find = () => (
  <>
    <Heading title="People and groups" />
    <p class="soft">
      In which groups a person is, and through which; whom a group holds; what somebody lent to agents. That
      you looked is on record.
    </p>
    <form
      class="line"
      onSubmit={(event) => {
        event.preventDefault()
        const principal = String(new FormData(event.currentTarget).get('who')).trim()
        go(personPath(principal.includes(':') ? principal : `user:${principal}`))
      }}
    >
      <label>
        Person or group
        <input
          type="text"
          name="who"
          placeholder="user:anne, group:eng"
          required
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
        />
      </label>
      <button type="submit" class="main">
        Show
      </button>
    </form>
  </>
)
