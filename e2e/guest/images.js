// In the guest: real images on an NFS mount. The images are in the folder IMAGES.

import { NfsPlace } from '../durability/place.js'
import { testImages } from '../images/cases.js'

testImages('real images on NFS', {
  folder: process.env.IMAGES,
  hasFiles: true,
  // A machine emulated by an emulated machine takes minutes.
  canBoot: false,
  async open() {
    const { folder: storage, env } = new NfsPlace('/mnt/nfs/images')
    return { storage, env }
  },
})
