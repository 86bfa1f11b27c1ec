import { randomBytes } from 'node:crypto'
import { beforeEach, describe, expect, test } from 'vitest'
import { operator } from '../../src/audit/record.ts'
import { type Fga, tupleId } from '../../src/authz/fga.ts'
import { createApprovalGrants } from '../../src/delegation/approvals/grants.ts'
import { createDelegations } from '../../src/delegation/lending/delegations.ts'
import { createArtifacts } from '../../src/delegation/revocation/artifacts.ts'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import { createSeal } from '../../src/store/encryption.ts'
import type { Database } from '../../src/store/sql.ts'
import { needsOpenfga, needsPostgres } from '../support/native.ts'
import { ownIssuerUrl } from './world.ts'
import { addBot, clock, openCopies, type Stand, tuplesLeft } from './world-recovery.ts'

const bothAreCopies = { heads: [], access: undefined, anyway: true } as const

describe(
  'a process that was let in before a recovery, and stood still',
  needsPostgres.skip ? needsPostgres : needsOpenfga,
  () => {
    const { name, administer, standOnPostgres } = openCopies()
    let stand: Stand
    beforeEach(async () => {
      await administer(`create database ${name}`)
      stand = await standOnPostgres(name)
      await addBot(stand.database)
      await stand.epoch.raise()
      return () => stand[Symbol.asyncDispose]()
    })

    test.each(['Session', 'Grant', 'RefreshToken', 'Interaction', 'AuthorizationCode'])(
      'writes back no %s that it had in hand, and redeems none',
      async (model) => {
        const artifacts = createArtifacts({
          sql: stand.database,
          seal: createSeal(randomBytes(32)),
          clock,
          revocations: createRevocations({ sql: stand.database, clock }),
          issuer: ownIssuerUrl,
          grantEnded: async () => undefined,
        }).of(model)
        const held = { jti: 'a', exp: Math.floor(clock.now() / 1_000) + 3_600, kind: model }
        await artifacts.upsert('a', held, 3_600)
        await stand.recover()
        await artifacts.upsert('a', held, 3_600)
        expect(await artifacts.find('a')).toBeUndefined()
        await expect(artifacts.consume('a')).rejects.toThrow()
      },
    )

    test('signs nobody in', async () => {
      const sessions = () => stand.database.query('select person from browser_sessions')
      await stand.recover({
        async step(at) {
          if (at === 'searched') await putBrowserSession(stand.database)
        },
      })
      expect(await sessions()).toEqual([])
    })

    test.each(['before', 'while'])(
      'lends wholly or not at all where it goes on %s the tuples are removed',
      async (when) => {
        const [wrote, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
        const slow: Fga = {
          ...stand.fga,
          async write(change, options) {
            await stand.fga.write(change, options)
            wrote.resolve()
            await goesOn.promise
          },
        }
        const lending = createDelegations({ database: stand.database, fga: slow, clock, randomBytes })
          .lend({
            subject: 'user:anne',
            agent: 'bot',
            scope: ['collection:handbook'],
            purpose: 'tests',
            expiresAt: new Date(clock.now() + 3_600_000),
          })
          .then(
            ({ id }) => id,
            () => undefined,
          )
        await wrote.promise
        const goOn = async () => {
          goesOn.resolve()
          await lending
        }
        const fga: Fga = {
          ...stand.fga,
          async write(change, options) {
            if (when === 'while' && change.deletes?.some(({ object }) => object.startsWith('delegation:d_')))
              await goOn()
            return stand.fga.write(change, options)
          },
        }
        const step = async (at: string) => {
          if (when === 'before' && at === 'accounts') await goOn()
        }
        await stand.recover({ fga, step }, bothAreCopies)
        await goOn()
        const id = await lending
        expect(id !== undefined && (await stand.delegations.isLive(id))).toBe(false)
        expect(await tuplesLeft(stand.fga)).toEqual([])
      },
    )

    test.each(['grants', 'accounts'])(
      'gives for an approval wholly or not at all, where it was prepared at %s',
      async (when) => {
        const { database, fga } = stand
        const delegation = await stand.lend()
        const grants = createApprovalGrants({ database, fga, clock, log: () => undefined, randomBytes })
        let id = ''
        await stand.recover({
          async step(at) {
            if (at === when)
              ({ id } = await grants.prepare({
                approval: 'ap_1',
                subject: 'user:anne',
                agent: 'bot',
                delegation,
                objects: ['folder:board'],
                until: new Date(clock.now() + 300_000),
                remembered: true,
              }))
          },
        })
        const isGiven = await database.transaction((sql) =>
          grants.activateWithin(sql, id, operator('t_tests')),
        )
        const tuples: string[] = []
        for await (const page of fga.readAll()) tuples.push(...page.map(tupleId))
        expect([isGiven, tuples.filter((tuple) => tuple.includes('grant:'))]).toEqual([false, []])
      },
    )
  },
)

const putBrowserSession = (database: Database) =>
  database.query(
    `insert into browser_sessions (id_hash, person, amr, signed_in_at, expires_at)
     values ('x', 'anne', '{pwd}', now(), now() + interval '1 hour')`,
  )
