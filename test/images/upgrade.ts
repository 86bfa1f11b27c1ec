import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { needs } from '../support/native.ts'
import { changedSince, commitOf, frozenVersions } from '../upgrade/versions.ts'
import { answers, type Diary, keepDiary, mayRead, type Place } from './diary.ts'
import { onPage } from './page.ts'
import { answerOf } from './people.ts'
import { openProxied } from './proxied.ts'
import { root, runsContainers, type Stand } from './stand.ts'
import { newerVersion, type Process, type TwoProcesses, twoProcesses } from './two.ts'

// Minutes each: an image of another version is built, and several programs start, on few cores.
const slow = 900_000
const processes: readonly Process[] = ['remit', 'remit-2']

/** Tests of it. One file runs them and those of the other files of compose, so one after the other. */
export function describeUpgrade(): void {
  describe.each(frozenVersions)('docker-compose.two.yml, from the image of %s', (earlier) => {
    const commit = commitOf(earlier)
    const isHere = runsContainers() && commit !== undefined
    const whatIsNeeded = 'podman, podman-compose (PODMAN_COMPOSE) and a clone with the history of git'
    describe('to that of today', needs(isHere, whatIsNeeded), () => {
      const project = 'remit-upgrade-test'
      const image = `localhost/${project}_remit`
      const [today, newer, started] = [`${image}:today`, `${image}:newer`, `${image}:${earlier}`]
      const others = (from: number) =>
        Object.fromEntries(
          Array.from({ length: 20 }, (_, at) => [`other-${from + at}`, `An otter was seen at ${from + at}.`]),
        )
      let place: Place
      let stand: Stand
      let diary: Diary
      let two: TwoProcesses

      beforeAll(async () => {
        place = await openProxied(project, 'docker-compose.two.yml')
        stand = place.stand
        two = twoProcesses(stand, project, place.url)
        const checkout = join(stand.folder, '..', 'earlier')
        mkdirSync(checkout)
        const taken = `git -C ${root} archive ${commit} | tar --extract --directory ${checkout}`
        await stand.run('sh', ['-c', taken])
        await stand.build(`${image}:released`, '', checkout)
        await stand.build(today)
        await two.newer(newer, today)
        // 0.9.0 ran TypeScript. docker-compose.two.yml, which came later, names JavaScript.
        const link = (path: string) => `([ -e ${path}.js ] || ln -s main.ts ${path}.js)`
        await stand.derive(started, `${image}:released`, `${link('src/main')} && ${link('src/cli/main')}`)
        for (const one of processes) await stand.podman('tag', started, `localhost/${project}_${one}`)
      }, 2 * slow)
      afterAll(async () => {
        // Into the transcript, which is kept.
        for (const one of processes)
          await stand?.podman('logs', '--timestamps', `${project}_${one}_1`).catch(() => undefined)
        await stand?.[Symbol.asyncDispose]()
      }, slow)

      /** How many documents and passages stand, and can be found. */
      const kept = () => {
        const query = 'select count(distinct doc_no), count(*) from chunks'
        const asked = ['psql', '--username', 'postgres', '--dbname', 'remit', '--tuples-only', '--no-align']
        return stand.podman('exec', `${project}_postgres_1`, ...asked, '--command', query)
      }
      async function read(): Promise<Readonly<Record<string, readonly string[]>>> {
        const all: Record<string, readonly string[]> = {}
        for (const person of diary.people) all[person.user] = await answerOf(place.url, person)
        return all
      }

      test('each person is answered all the time with what they read before, and nothing is lost', {
        timeout: 2 * slow,
      }, async () => {
        await stand.putModel('remit-home')
        await stand.compose('up', '--detach', '--no-build')
        await answers(place)
        for (const one of processes) await stand.healthy(`${project}_${one}_1`)
        diary = await keepDiary(place)
        await diary.send('before', others(0), ['carol'])
        expect(await two.versions()).toEqual([earlier])
        expect(await diary.found()).toEqual(mayRead)
        expect(await kept()).toBe('22|22\n')

        await using asked = diary.ask()
        await sleep(3_000)
        const owner = onPage('docs/containers.md', 'git pull')
          .split('\n')
          .filter((line) => line.includes('record-owner.sql'))
        expect(owner).toHaveLength(1)
        await stand.page(owner.join('\n'))
        await two.replace('remit-2', newer)
        await two.ask('remit-2')
        // Both versions are there, and either may take it in.
        await diary.send('meanwhile', others(20), ['carol'])
        await two.replace('remit', newer)
        await two.ask()
        await sleep(3_000)
        const { answered, failed } = await asked.end()
        expect(failed).toEqual([])
        expect(answered).toBeGreaterThan(100)
        expect(await two.versions()).toEqual([newerVersion])
        expect(await diary.found()).toEqual(mayRead)
        expect(await read()).toEqual(mayRead)
        expect(await kept()).toBe('42|42\n')
      })

      // On the same tables it would start.
      if (changedSince(earlier, 'migrations/*.sql').length > 0)
        test('the earlier one does not start again, and says why; the others go on', {
          timeout: slow,
        }, async () => {
          await using asked = diary.ask()
          await two.start('remit-2', started)
          const said = () => stand.podman('logs', `${project}_remit-2_1`)
          await expect
            .poll(said, { timeout: 120_000, interval: 1_000 })
            .toMatch(
              new RegExp(
                `belongs to Remit ${newerVersion}: its tables were changed by \\d{4}_\\w+\\.sql, ` +
                  `which this version \\(${earlier}\\) does not have\\. ` +
                  `Start Remit ${newerVersion} or newer\\. To go back to ${earlier}, restore what was backed up`,
              ),
            )
          await two.replace('remit-2', newer)
          await two.ask()
          const { failed } = await asked.end()
          expect(failed).toEqual([])
          expect(await two.versions()).toEqual([newerVersion])
          expect(await diary.found()).toEqual(mayRead)
          expect(await kept()).toBe('42|42\n')
        })
    })
  })
}
