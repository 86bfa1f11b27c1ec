import { extname } from 'node:path'
import { mimeTypes } from '../../ingest/parse/parsed.ts'

const types: Readonly<Record<string, string>> = {
  '.md': mimeTypes.markdown,
  '.markdown': mimeTypes.markdown,
  '.txt': mimeTypes.plain,
  '.html': mimeTypes.html,
  '.htm': mimeTypes.html,
  '.json': mimeTypes.json,
  '.pdf': mimeTypes.pdf,
  '.docx': mimeTypes.docx,
}

/** The media type that the ending of a file's name stands for; undefined: no kind of document. */
export const fileType = (name: string): string | undefined => types[extname(name).toLowerCase()]
