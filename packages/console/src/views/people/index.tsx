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
  show: (_, [who]) => {
    if (who === undefined) return <Find />
    return who.startsWith('user:') ? <Person key={who} user={who} /> : <Group key={who} group={who} />
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
        const who = String(new FormData(event.currentTarget).get('who')).trim()
        go(personPath(who.includes(':') ? who : `user:${who}`))
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
