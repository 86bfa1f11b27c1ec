import type { Writer } from '@remit/client'
import { createSourceWriter } from '../../src/sources/writer.ts'
import { type IngestWorld, loader } from '../ingest/world.ts'

/** A source's writer into ingestion, whichever process of the world runs it. What is missing goes at once. */
export const ingestWriter = (world: IngestWorld, prefix: string): Writer =>
  createSourceWriter({
    ingest: {
      put: (...args) => world.ingest.put(...args),
      importAll: (...args) => world.ingest.importAll(...args),
      waitForJob: (...args) => world.ingest.waitForJob(...args),
      retag: (...args) => world.ingest.retag(...args),
      changeAccess: (...args) => world.ingest.changeAccess(...args),
    },
    actor: loader,
    prefix,
    collections: ['closed'],
    hideMissing: async (id) => void (await world.ingest.withdraw(loader, id)),
    hideBroken: async () => undefined,
  })
