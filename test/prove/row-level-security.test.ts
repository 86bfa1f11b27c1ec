import { describe, expect, test } from 'vitest'
import { native, needsPostgres } from '../support/native.ts'
import { openRowLevelSecurity } from './row-level-security.ts'
import { findingsOf, proveSmall, timeout } from './small.ts'

const url = native.databaseUrl ?? ''

describe('of an endpoint on Postgres', { timeout, ...needsPostgres }, () => {
  test('with row-level security nothing comes that may not, and nothing is missing', async () => {
    await using adapter = await openRowLevelSecurity({ url })
    const report = await proveSmall(adapter)
    // That a time tells something is no wonder: a policy looks at what the index has found.
    expect(findingsOf(report)).toEqual([])
    expect(report.left).toEqual([])
  })

  test('with a filter after the search what may be read is lost behind what may not', async () => {
    await using adapter = await openRowLevelSecurity({ url, filteredAfter: 20 })
    const { checks } = await proveSmall(adapter)
    expect(checks).toContainEqual(expect.objectContaining({ id: 'leak', state: 'held' }))
    expect(checks).toContainEqual(expect.objectContaining({ id: 'crowd', state: 'broken', failures: 10 }))
  })
})
