import { operator } from '../../src/audit/record.ts'
import { native } from '../../test/support/native.ts'
import { serviceName, startService } from '../support/running.ts'
import { type Asked, collection, type Told } from './fresh-messages.ts'

// One of two processes of Remit over the same database: `fresh.ts` starts them, and asks for tokens.
const tell = (message: Told): void => void process.send?.(message)
const { DATABASE_URL, SEARCH_ENGINE_URLS = '' } = process.env
await using running = await startService({
  databaseUrl: DATABASE_URL,
  openfga: native.openfga,
  modelFolder: native.modelFolder,
  env: { SEARCH_ENGINE_URLS },
})
await running.service.ingest.saveCollection(operator('benchmark'), {
  id: collection,
  title: 'Shelf',
  publicAllowed: false,
})
await running.service.services.save({ name: serviceName, collections: [collection], prefixes: [] })
process.on('message', ({ id, options }: Asked) => {
  void running.token(options).then((token) => tell({ id, token }))
})
tell({ url: running.url })
await new Promise((resolve) => process.once('disconnect', resolve))
