import { expect, test } from 'vitest'
import type { Database } from '../../src/store/sql.ts'
import { startFaultyOpenFga } from '../security/faulty-openfga.ts'
import { openWorld } from '../support/world.ts'

/** The longest list of ids that a statement over documents was sent. */
function watchIds(): { readonly wrap: (real: Database) => Database; longest: number } {
  const watch = {
    longest: 0,
    wrap: (real: Database): Database => ({
      ...real,
      query: (text, values = []) => {
        if (text.includes('from documents'))
          for (const value of values)
            if (Array.isArray(value)) watch.longest = Math.max(watch.longest, value.length)
        return real.query(text, values)
      },
    }),
  }
  return watch
}

test('whoever sees much has few of it looked up for a list of collections, and more only where it is refused', async () => {
  const watch = watchIds()
  await using faulty = await startFaultyOpenFga()
  await using world = await openWorld({
    database: watch.wrap,
    openfga: faulty.wrap,
    env: { REQUEST_DEADLINE_MS: '60000' },
  })
  const viewers = ['user:anne']
  await world.put({
    ...Object.fromEntries(
      Array.from({ length: 40 }, (_, nth) => [`handbook/${nth}`, { access: { viewers } }]),
    ),
    'finance/one': { collection: 'finance', access: { viewers } },
  })
  const token = await world.token({ user: 'anne' })
  const list = async () => {
    const response = await world.call('GET', '/collections', { token })
    return (await response.json()) as unknown
  }
  const both = { collections: [{ id: 'finance' }, { id: 'handbook' }], complete: true }
  // Asked again where the log was not read for a second, which the list says itself.
  const listsBoth = () =>
    expect
      .poll(
        async () => {
          watch.longest = 0
          return list()
        },
        { timeout: 20_000 },
      )
      .toMatchObject(both)
  await listsBoth()
  await listsBoth()
  expect(watch.longest).toBe(2)
  faulty.set({
    verdicts: (all) =>
      Object.fromEntries(
        Object.entries(all).map(([object, verdict]) => [
          object,
          object.startsWith('document:handbook/') && object !== 'document:handbook/30'
            ? { allowed: false }
            : verdict,
        ]),
      ),
  })
  await listsBoth()
  expect(watch.longest).toBeLessThan(40)
})
