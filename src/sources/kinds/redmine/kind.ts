import { SourceUnavailable } from '@remit/connector'
import { z } from 'zod'
import { defineKind, type SourceKind } from '../../kind.ts'
import { address, peopleOf, placeOf, subject, systemAt } from '../settings.ts'
import { RedmineApi } from './api.ts'
import { createRedmineSource } from './redmine-source.ts'

const idInRedmine = z.int().min(1)

const person = z.strictObject({
  /** The number in the address of their page: `/users/7`. */
  account: idInRedmine,
  subject,
})

const settings = z.strictObject({
  /** Where Redmine is: `https://redmine.example`, or with a path below which it lies. */
  url: address,
  /** Who the accounts of Redmine are. Whoever is not here is nobody. */
  people: peopleOf(person),
  /** The number of the built-in role of non-members. Left out: as non-members they see nothing. */
  non_member_role: idInRedmine.optional(),
})

/**
 * The issues and wiki pages of a Redmine (5.0), filed in the source's first collection; everybody reads what
 * Redmine shows them (docs/sources-redmine.md).
 */
export const redmineKind: SourceKind = defineKind({
  id: 'redmine',
  settings,
  // Each reading lists all items, and reads all rights.
  untold: [],
  credential: 'required',
  originOf: ({ url }) => new URL(url).origin,
  systemOf: ({ url }) => systemAt(url),
  open: ({ url, people, non_member_role: nonMemberRole }, opening) => {
    const { fetch, secret, prefix, collections } = opening
    if (secret === undefined) throw new SourceUnavailable('Redmine is read with an API key.')
    const { origin, path: base } = placeOf(url)
    return createRedmineSource(
      { url: origin + base, people, nonMemberRole, prefix, collection: collections[0] ?? '' },
      { api: new RedmineApi({ fetch, key: secret, base }), now: Date.now },
    )
  },
})
