import { describe, expect, test } from 'vitest'
import type { Fga } from '../../src/authz/fga.ts'
import {
  markerObject,
  openRestoreDetection,
  readMarker,
} from '../../src/delegation/recovery/restore-detection.ts'
import { openRevocationFeed } from '../../src/delegation/revocation/revocation-feed.ts'
import { createRevocations } from '../../src/delegation/revocation/revocations.ts'
import type { Database } from '../../src/store/sql.ts'
import { needsOpenfga, needsPostgres } from '../support/native.ts'
import { movableClock, openMigrated } from './world.ts'
import { openFga } from './world-fga.ts'
import { clock, dyingOn, openCopies } from './world-recovery.ts'

/** Looks when it is asked to. */
const looking = { clock, log: () => undefined, isApart: true, everyMs: 1e6 }

async function markers(fga: Fga): Promise<string[]> {
  const users: string[] = []
  for await (const { user } of fga.read({ object: 'delegation:remit.epoch' })) users.push(user)
  return users
}

describe(
  'a copy of the database beside an OpenFGA that went on',
  needsPostgres.skip ? needsPostgres : needsOpenfga,
  () => {
    const { name, administer, standOnPostgres, openfgaNow, wentOn } = openCopies()

    test('is noticed, and nobody is answered', async () => {
      await wentOn(async () => undefined)
      await using whole = await standOnPostgres(name)
      whole.epoch.assertSound()
      await using copy = await standOnPostgres(`${name}_copy`)
      expect(copy.epoch.isSound).toBe(false)
      expect(() => copy.epoch.assertSound()).toThrow(
        expect.objectContaining({ code: 'authorization_unavailable' }),
      )
      let began = false
      await copy.epoch.whenSound(async () => {
        began = true
      })
      await copy.epoch.raise()
      await copy.epoch.check()
      expect([copy.epoch.isSound, began]).toEqual([false, false])
    })

    test('is noticed where it takes the place of the other one just before its number is raised', async () => {
      await wentOn(async () => undefined)
      await using whole = await standOnPostgres(name)
      await using copy = await standOnPostgres(`${name}_copy`)
      const number = await readMarker(whole.fga)
      // As a name that leads to another server from there on.
      let current = whole.database
      const database: Database = {
        ...whole.database,
        query(text, values) {
          if (text.includes('set number = number + 1')) current = copy.database
          return current.query(text, values)
        },
      }
      await copy.database.query('update epochs set number = $1, told = $1', [number - 1])
      await using raising = await openRestoreDetection({ ...whole, ...looking, database })
      await raising.raise()
      expect([raising.older, await readMarker(whole.fga)]).toEqual(['database', number])
      await using started = await standOnPostgres(`${name}_copy`)
      expect(started.epoch.older).toBe('database')
    })

    test('recovered is not the older one by what a process says late that stood still meanwhile', async () => {
      await wentOn(async () => undefined)
      await using whole = await standOnPostgres(name)
      await using copy = await standOnPostgres(`${name}_copy`)
      const late = (await readMarker(whole.fga)) + 5
      await copy.recover()
      await copy.fga.write({
        writes: [{ user: `agent:epoch.${late}`, relation: 'agent', object: markerObject }],
      })
      await copy.epoch.check()
      expect(copy.epoch.isSound).toBe(true)
    })

    test('is recovered by the recovery that began last; one that began before it does not end', async () => {
      await wentOn(async () => undefined)
      await using copy = await standOnPostgres(`${name}_copy`)
      await using other = await standOnPostgres(`${name}_copy`)
      const step = async (at: string) => {
        if (at !== 'begun') return
        const dies = async () => {
          throw new Error('killed')
        }
        await expect(
          other.recover({ step: dies }, { heads: [], access: undefined, anyway: true }),
        ).rejects.toThrow('killed')
      }
      await expect(copy.recover({ step })).rejects.toThrow('Another recovery began')
      for (const { epoch } of [copy, other]) {
        await epoch.check()
        expect(epoch.isSound).toBe(false)
      }
      await other.recover()
      await copy.epoch.check()
      copy.epoch.assertSound()
    })

    // Put back to a time after that of the database, or before it.
    test.each([
      ['newer', 'begun'],
      ['newer', 'searched'],
      ['newer', 'ended'],
      ['older', 'begun'],
      ['older', 'ended'],
    ])(
      'ends all that was lent where OpenFGA, %s than it, was put back during its recovery at %s',
      async (than, when) => {
        let putBack: () => Promise<void> = async () => undefined
        let older: typeof putBack = putBack
        const before = await wentOn(async (stand, lent) => {
          older = await openfgaNow(stand.fga.storeId)
          await stand.epoch.raise()
          putBack = await openfgaNow(stand.fga.storeId)
          await stand.delegations.revoke(lent)
          await stand.epoch.raise()
        })
        if (than === 'older') putBack = older
        await using copy = await standOnPostgres(`${name}_copy`)
        const step = async (at: string) => {
          if (at === when) await putBack()
        }
        await expect(copy.recover({ step })).rejects.toMatchObject({ code: 'conflict' })
        await using again = await standOnPostgres(`${name}_copy`)
        expect(again.epoch.isSound).toBe(false)
        const { send_again, agents } = await again.recover({
          agents: { enabled: async () => ['bot'], disable: async () => undefined },
        })
        again.epoch.assertSound()
        expect([await again.delegations.isLive(before), agents]).toEqual([false, ['bot']])
        expect(send_again).toEqual(
          expect.arrayContaining(['members of groups and organizations', 'documents and their access']),
        )
      },
    )

    test('where OpenFGA was seen to go back as well, ends all that was lent', async () => {
      let putBack: () => Promise<void> = async () => undefined
      const before = await wentOn(async (stand, lent) => {
        await stand.epoch.raise()
        putBack = await openfgaNow(stand.fga.storeId)
        await stand.delegations.revoke(lent)
      })
      await putBack()
      await using copy = await standOnPostgres(`${name}_copy`)
      await copy.database.query('update epochs set log_went_back = true')
      expect(await copy.recover()).toMatchObject({ older: 'database', delegations_ended: 1 })
      expect(await copy.delegations.isLive(before)).toBe(false)
    })

    test('is noticed by whoever looks anew before the next look is due', async () => {
      await wentOn(async () => undefined)
      await using whole = await standOnPostgres(name)
      await whole.epoch.assertSoundNow()
      await using copy = await standOnPostgres(`${name}_copy`)
      const number = await readMarker(whole.fga)
      await copy.recover()
      // The database that went on is the older one by now, and nothing told this process.
      expect(await readMarker(whole.fga)).toBeGreaterThan(number)
      expect(whole.epoch.isSound).toBe(true)
      await expect(whole.epoch.assertSoundNow()).rejects.toMatchObject({
        code: 'authorization_unavailable',
      })
    })

    describe('an OpenFGA that was put back', () => {
      test('is noticed at the next start and by a process that runs, and nobody is answered', async () => {
        await administer(`create database ${name}`)
        await using running = await standOnPostgres(name)
        await running.epoch.raise()
        const putBack = await openfgaNow(running.fga.storeId)
        await running.epoch.raise()
        await putBack()
        await running.epoch.check()
        expect([running.epoch.isSound, running.epoch.older]).toEqual([false, 'openfga'])
        await using started = await standOnPostgres(name)
        expect(() => started.epoch.assertSound()).toThrow(
          expect.objectContaining({ code: 'authorization_unavailable' }),
        )
        // Nor does anything raise it past that.
        await started.epoch.raise()
        await started.epoch.check()
        expect(started.epoch.isSound).toBe(false)
      })

      test('is noticed by its log where it was put back by less than a number, and stays so until a recovery', async () => {
        await administer(`create database ${name}`)
        await using stand = await standOnPostgres(name)
        await stand.epoch.raise()
        const followed = {
          logWentBack: true,
          isLogDoubted: true,
          catchUp: async () => undefined,
          async rebuild() {
            this.logWentBack = false
            this.isLogDoubted = false
          },
        }
        const open = (its = followed) => openRestoreDetection({ ...stand, ...looking, followed: its })
        await using noticing = await open()
        // One that starts, and knows only what is stored since.
        await using started = await open({ ...followed, logWentBack: false, isLogDoubted: false })
        for (const epoch of [noticing, started, noticing]) {
          await epoch.check()
          expect([epoch.isSound, epoch.older]).toEqual([false, 'openfga'])
        }
        expect(await stand.recover({})).toMatchObject({ older: 'openfga' })
        for (const epoch of [noticing, started, noticing]) {
          await epoch.check()
          epoch.assertSound()
        }
        expect(followed.logWentBack).toBe(false)
      })

      test('is noticed where nothing is left in it', async () => {
        await administer(`create database ${name}`)
        await using stand = await standOnPostgres(name)
        const putBack = await openfgaNow(stand.fga.storeId)
        await stand.epoch.raise()
        await putBack()
        await stand.epoch.check()
        expect(stand.epoch.older).toBe('openfga')
      })

      test.each([1, 0])(
        'is not hidden by a process that was just about to tell OpenFGA a number, where it held %s',
        async (count) => {
          await administer(`create database ${name}`)
          await using stand = await standOnPostgres(name)
          if (count > 0) await stand.epoch.raise()
          const putBack = await openfgaNow(stand.fga.storeId)
          await stand.epoch.raise()
          let meanwhile: () => Promise<void> = putBack
          const fga: Fga = {
            ...stand.fga,
            async write(change) {
              const before = meanwhile
              meanwhile = async () => undefined
              await before()
              return stand.fga.write(change)
            },
          }
          await using telling = await openRestoreDetection({ ...stand, ...looking, fga })
          await telling.raise()
          for (const epoch of [telling, stand.epoch]) {
            await epoch.check()
            expect([epoch.isSound, epoch.older]).toEqual([false, 'openfga'])
          }
          // It stays so: the next number does not hide it either.
          await telling.raise()
          await telling.check()
          expect(telling.older).toBe('openfga')
          await stand.recover({})
          await telling.check()
          telling.assertSound()
        },
      )

      test.each(['access', 'searched', 'ended'])(
        'and once more during its recovery, at %s, ends that, and is recovered by the next',
        async (when) => {
          await administer(`create database ${name}`)
          await using stand = await standOnPostgres(name)
          await stand.epoch.raise()
          const putBack = await openfgaNow(stand.fga.storeId)
          await stand.epoch.raise()
          await putBack()
          const step = async (at: string) => {
            if (at === when) await putBack()
          }
          await expect(stand.recover({ step })).rejects.toMatchObject({ code: 'conflict' })
          await stand.epoch.check()
          expect([stand.epoch.isSound, stand.epoch.older]).toEqual([false, 'openfga'])
          expect(await stand.recover()).toMatchObject({ older: 'openfga' })
          expect(await markers(stand.fga)).toEqual([`agent:epoch.${await readMarker(stand.fga)}`])
        },
      )

      test('is not what a process leaves that dies again and again before OpenFGA was told', async () => {
        await administer(`create database ${name}`)
        await using stand = await standOnPostgres(name)
        await stand.epoch.raise()
        for (let times = 0; times < 5; times++) {
          await using dying = await dyingOn(stand)
          await expect(dying.raise()).rejects.toThrow('killed')
        }
        await using again = await standOnPostgres(name)
        again.epoch.assertSound()
        await again.epoch.raise()
        await again.epoch.check()
        again.epoch.assertSound()
      })

      test('is not what two processes see that raise and look at the same time', async () => {
        await administer(`create database ${name}`)
        await using one = await standOnPostgres(name)
        await using other = await standOnPostgres(name)
        for (let times = 0; times < 10; times++) {
          await Promise.all([one, other, one, other].map(({ epoch }) => epoch.raise()))
          await Promise.all([one, other].map(({ epoch }) => epoch.check()))
          expect([one.epoch.older, other.epoch.older]).toEqual([undefined, undefined])
        }
      })
    })

    test('a process that dies between the two tells no lie: the database is ahead then, never behind', async () => {
      await administer(`create database ${name}`)
      {
        await using stand = await standOnPostgres(name)
        await stand.epoch.raise()
        const dying = await dyingOn(stand)
        await expect(dying.raise()).rejects.toThrow('killed')
      }
      await using again = await standOnPostgres(name)
      again.epoch.assertSound()
    })
  },
)

test('what is revoked is soon beyond forgetting: the number is raised for it within the next look', async () => {
  const database = await openMigrated()
  const fga = await openFga(database, clock)
  const authority = await openRevocationFeed({ database, clock, log: () => undefined })
  await using epoch = await openRestoreDetection({
    database,
    fga,
    authority,
    clock,
    log: () => undefined,
    isApart: true,
    everyMs: 20,
  })
  expect(epoch.isSound).toBe(true)
  await createRevocations({ sql: database, clock }).revoke(
    { kind: 'subject', id: 'user:anne' },
    { reason: 'tests' },
  )
  await expect.poll(() => markers(fga)).toEqual(['agent:epoch.1'])
  await authority[Symbol.asyncDispose]()
  await epoch[Symbol.asyncDispose]()
  await database.close()
})

test('what was recorded is soon beyond forgetting also where the clock was set back', async () => {
  const database = await openMigrated()
  const own = movableClock()
  const fga = await openFga(database, own)
  const authority = await openRevocationFeed({ database, clock, log: () => undefined })
  await using epoch = await openRestoreDetection({
    database,
    fga,
    authority,
    clock: own,
    log: () => undefined,
    isApart: true,
    everyMs: 20,
  })
  own.move(-3_600_000)
  await expect.poll(() => markers(fga), { timeout: 10_000 }).toEqual(['agent:epoch.1'])
  await authority[Symbol.asyncDispose]()
  await epoch[Symbol.asyncDispose]()
  await database.close()
})
