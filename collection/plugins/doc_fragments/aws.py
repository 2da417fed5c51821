# -*- coding: utf-8 -*-
# Copyright (c) 2026 the backstay authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
notes:
  - The AWS options have the names that the collection C(amazon.aws) gives them.
    C(module_defaults) of the group C(backstay.postgresql.ebs) can give them once.
  - Environment variables and files such as C(~/.aws/config) are those of the target, or of the host that the task is delegated to.
    Where nothing is given, the role of the instance is used.
options:
  region:
    description:
      - Region of the volumes and snapshots.
      - When not given, E(AWS_REGION) is used, E(AWS_DEFAULT_REGION), the region of the profile, then that of the instance.
    type: str
    aliases:
      - aws_region
      - ec2_region
  profile:
    description:
      - Name of the profile in the files of the AWS command line.
      - When not given, E(AWS_PROFILE) is used.
    type: str
    aliases:
      - aws_profile
  access_key:
    description:
      - Id of the access key. It goes together with O(secret_key).
      - When not given, E(AWS_ACCESS_KEY_ID) is used, the profile, then the role of the instance.
    type: str
    aliases:
      - aws_access_key_id
      - aws_access_key
  secret_key:
    description:
      - The secret part of the access key. It is masked in every reply.
      - When not given, E(AWS_SECRET_ACCESS_KEY) is used.
    type: str
    aliases:
      - aws_secret_access_key
      - aws_secret_key
  session_token:
    description:
      - Session token of temporary credentials. It is masked in every reply.
      - When not given, E(AWS_SESSION_TOKEN) is used.
    type: str
    aliases:
      - aws_session_token
  endpoint_url:
    description:
      - URL of the EC2 endpoint, such as that of a VPC endpoint.
      - When not given, E(AWS_ENDPOINT_URL_EC2) is used, E(AWS_ENDPOINT_URL), else the public endpoint of the region.
    type: str
    aliases:
      - aws_endpoint_url
  aws_ca_bundle:
    description:
      - File on the target with the certificates of the authorities that are trusted for the endpoint, in PEM format.
      - When not given, E(AWS_CA_BUNDLE) is used, else the authorities that the system trusts.
    type: path
"""
