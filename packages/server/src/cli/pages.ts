// Lists that come in pages, as one.

import type { ImageView } from '../view.ts'
import type { Client } from './client.ts'
import { withQuery } from './server-options.ts'
import { CommandError } from './terminal.ts'

interface Page {
  data: ImageView[]
  continue: string | null
}

/** Every image of a list, page after page. */
export async function allPages(client: Client, path: string): Promise<ImageView[]> {
  const images: ImageView[] = []
  let token: string | undefined
  for (;;) {
    const query = { limit: '1000', ...(token === undefined ? {} : { continue: token }) }
    const page = await client.json<Page>('GET', withQuery(path, query))
    images.push(...page.data)
    if (page.continue === null) return images
    if (page.continue === token) {
      throw new CommandError(`${client.url} repeats a page of the list: is it a server of ours?`)
    }
    token = page.continue
  }
}
